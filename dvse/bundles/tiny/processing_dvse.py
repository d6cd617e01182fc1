"""Lets transformers find processor and tokenizer; dvse has the code."""

from dvse.pretrained_tokenizer import DvseTokenizer
from dvse.processor import DvseProcessor

__all__ = ["DvseProcessor", "DvseTokenizer"]
