"""What is done with an input: the contract, tokenising, captioning."""
