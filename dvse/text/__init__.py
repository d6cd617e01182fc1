"""Text ↔ ids: SentencePiece, or a Hugging Face `tokenizer.json`. Knows no other modality."""
