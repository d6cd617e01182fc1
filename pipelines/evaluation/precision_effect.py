"""What computing in fewer bits does: the share of codes that stay, and the figures in both.

Beside the figures of the precision at hand stand those of fp32 over the same inputs. Nobody
publishes this of a tokenizer; without it nobody can choose a precision.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvse.tokenizer import Tokenizer
from pipelines.evaluation.data_layout import TRAIN, LabelledData
from pipelines.evaluation.encoded import EncodedInput, encode_inputs
from pipelines.evaluation.unit_agreement import agreement

if TYPE_CHECKING:
    from pipelines.answering.captioner import Captioner

REFERENCE = "float32"
_CAPTIONS = ("accuracy", "exact", "word_error_rate")


def precision_figures(
    tokenizer: Tokenizer,
    reference: Tokenizer,
    encoded: Mapping[str, Mapping[str, Sequence[EncodedInput]]],
) -> dict[str, Any]:
    """Return figures by modality and split.

    Args:
        tokenizer: in the precision that is judged; it made `encoded`.
        reference: the same bundle in fp32.
        encoded: modality → split → inputs, `train` among them.

    Returns:
        `codes_kept`, the share of codes (of all levels) that are the same, of `codes`; and the
        agreement with labels, `here` and in `float32`.
    """
    figures: dict[str, Any] = {}
    for modality, splits in encoded.items():
        exact = {
            name: encode_inputs(reference, modality, [entry.source for entry in part])
            for name, part in splits.items()
        }
        media: Any = getattr(tokenizer, modality)
        figures[modality] = {
            name: {
                **kept(part, exact[name]),
                "here": _agreement(splits, name, media.num_codes),
                REFERENCE: _agreement(exact, name, media.num_codes),
            }
            for name, part in splits.items()
            if name != TRAIN
        }
    return figures


def caption_effect(
    here: Mapping[str, Any],
    reference: "Captioner",
    data: Path,
    sources: Mapping[str, LabelledData],
    *,
    limit: int,
) -> dict[str, Any]:
    """Return the leading figures of captions in both precisions, by modality and split.

    Args:
        here: captions' figures in the precision that is judged.
        reference: the same model in fp32.
        data, sources, limit: see `decoder_figures`.
    """
    from pipelines.evaluation.decoder_measures import decoder_figures

    exact = decoder_figures(reference, data, sources, limit=limit)["captions"]
    return {
        modality: {
            split: {
                name: {"here": figures[name], REFERENCE: exact[modality][split][name]}
                for name in _CAPTIONS
                if name in figures and name in exact[modality][split]
            }
            for split, figures in splits.items()
        }
        for modality, splits in here.items()
    }


def kept(some: Sequence[EncodedInput], others: Sequence[EncodedInput]) -> dict[str, Any]:
    """Return the share of codes that two encodings of the same inputs have in common."""
    same = sum(int((a.codes == b.codes).sum()) for a, b in zip(some, others, strict=True))
    total = sum(a.codes.size for a in some)
    return {"codes_kept": round(same / max(total, 1), 6), "codes": total}


def _agreement(
    splits: Mapping[str, Sequence[EncodedInput]], split: str, num_codes: int
) -> dict[str, Any]:
    units = {name: [e.codes[:, 0].astype(np.int64) for e in part] for name, part in splits.items()}
    labels = {name: [e.source.label for e in part] for name, part in splits.items()}
    return agreement(units, labels, split, num_codes)
