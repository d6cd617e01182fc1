"""The text tokenizer: lines in, SentencePiece out."""
