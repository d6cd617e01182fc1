"""Formulas: numbers in, figures out; nothing here knows a tokenizer."""
