"""The decoder on torch alone, for processes that only answer: no transformers, no training."""
