"""What `tiny` is taught: scenes, questions, answers, written as conversations."""
