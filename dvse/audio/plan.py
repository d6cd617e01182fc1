"""The three ways in which a recording is cut, and reading one of them from a bundle."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from dvse.audio.overlapping_chunks import OverlappingChunks
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.windows import Windowing
from dvse.storage.spec_fields import read_fields

Plan: TypeAlias = Windowing | SampleChunks | OverlappingChunks


def read_plan(description: Any) -> Plan:
    """Return the plan that the `windows` of a section describe, told apart by their fields.

    Raises:
        BundleFormatError: none of them.

    >>> read_plan({"chunk_samples": 9})
    SampleChunks(chunk_samples=9)
    """
    named = description if isinstance(description, Mapping) else {}
    if "chunk_samples" not in named:
        return read_fields(Windowing, description, where="audio windows")
    if "hop_samples" not in named:
        return read_fields(SampleChunks, description, where="audio windows")
    return read_fields(OverlappingChunks, description, where="audio windows")
