"""Lets others find DVSE's decoder; the dvse package holds the code."""

try:
    from model import DvseConfig, DvseForCausalLM, DvseModel
except ImportError as error:
    raise ImportError("expected the package dvse to be installed beside this one") from error

__all__ = ["DvseConfig", "DvseForCausalLM", "DvseModel"]
