"""Lets transformers find DVSE's processor; the dvse package holds the code."""

from dvse.processor import DvseProcessor

__all__ = ["DvseProcessor"]
