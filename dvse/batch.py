"""Rows of ids of different lengths as one rectangle: `TokenBatch`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dvse.encoding import Encoding
from dvse.errors import ConfigError, InputError

PaddingSide = Literal["left", "right"]
PADDING_MODALITY = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """A batch of token rows.

    Attributes:
        input_ids: `int64 [B, T]`, padded with the id of `<|endoftext|>`.
        attention_mask: `bool [B, T]`, false on padding.
        modality_ids: `int8 [B, T]`, 0 text, 1 image, 2 audio, -1 padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    modality_ids: Tensor

    def to(self, device: str | torch.device) -> "TokenBatch":
        """Return the batch on another device."""
        return TokenBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def keys(self) -> Iterator[str]:
        """Names of the tensors, so that `model(**batch)` works."""
        return (f.name for f in fields(self))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.keys():
            raise KeyError(f"expected one of {list(self.keys())}, received {name!r}")
        return getattr(self, name)

    def __len__(self) -> int:
        return len(self.input_ids)


def collate(
    encodings: Sequence[Encoding],
    *,
    pad_id: int,
    padding: Literal["longest", "max_length"] = "longest",
    padding_side: PaddingSide = "right",
    max_length: int | None = None,
    truncation: bool = False,
) -> TokenBatch:
    """Pad rows to one length.

    Args:
        encodings: the rows.
        pad_id: id that fills up short rows.
        padding: to the longest row, or to `max_length`.
        padding_side: where the filling goes; decoders that generate want `left`.
        max_length: the most ids a row may have.
        truncation: cut longer rows instead of refusing them: text is cut anywhere, a picture or
            recording that does not fit whole is left out with all that follows it.

    Raises:
        InputError: a row is longer than `max_length` and may not be cut, or nothing of it fits.
        ConfigError: an option outside its values.
    """
    if padding not in ("longest", "max_length") or padding_side not in ("left", "right"):
        raise ConfigError(
            "expected padding 'longest' or 'max_length' and padding_side 'left' or 'right', "
            f"received {padding!r} and {padding_side!r}"
        )
    if max_length is None and (padding == "max_length" or truncation):
        raise ConfigError("padding='max_length' and truncation=True need max_length")
    if max_length is not None and max_length < 1:
        raise ConfigError(f"expected max_length of at least 1, received {max_length}")
    kept = [_kept_length(e, max_length, truncation, row) for row, e in enumerate(encodings)]
    width = max_length if padding == "max_length" else max(kept, default=0)
    assert width is not None
    ids = np.full((len(kept), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(kept), width), dtype=bool)
    modality = np.full((len(kept), width), PADDING_MODALITY, dtype=np.int8)
    for row, (encoding, length) in enumerate(zip(encodings, kept, strict=True)):
        where = slice(0, length) if padding_side == "right" else slice(width - length, width)
        ids[row, where] = encoding.ids[:length]
        mask[row, where] = True
        modality[row, where] = encoding.modality_ids[:length]
    return TokenBatch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        modality_ids=torch.from_numpy(modality),
    )


def _kept_length(encoding: Encoding, max_length: int | None, truncation: bool, row: int) -> int:
    if max_length is None or len(encoding) <= max_length:
        return len(encoding)
    if not truncation:
        raise InputError(
            f"row {row} has {len(encoding)} ids, max_length is {max_length}; "
            "raise max_length, shorten the row, or pass truncation=True"
        )
    cut = next(span for span in encoding.spans if span.stop > max_length)
    length = max_length if cut.modality == "text" else cut.start
    if not length:
        raise InputError(
            f"row {row} begins with {cut.stop} ids of {cut.modality} that belong together, "
            f"max_length is {max_length}; raise max_length"
        )
    return length
