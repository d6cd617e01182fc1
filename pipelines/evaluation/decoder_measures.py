"""Figures of a decoder on labelled inputs: its captions, and how its states find each other."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from dvse.errors import InputError
from dvse.items import Text
from pipelines.answering.caption import Caption
from pipelines.answering.captioner import Captioner
from pipelines.evaluation.data_layout import TRAIN, LabelledData
from pipelines.evaluation.inputs import Input, read_inputs
from pipelines.evaluation.measures.captions import caption_figures
from pipelines.evaluation.measures.retrieval import retrieval_figures
from pipelines.evaluation.pooled_states import pooled_states

_EXAMPLES = 12
_MEDIA = ("image", "audio")


def decoder_figures(
    captioner: Captioner,
    data: Path,
    sources: Mapping[str, LabelledData],
    *,
    limit: int,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return `captions` (modality → split → figures) and `retrieval` (query_to_candidate → same).

    Args:
        captioner: with the decoder.
        data, sources: labelled data and its layout.
        limit: inputs of each split.
        progress: told what is being done.

    Raises:
        TrainingError: data that cannot be read.
    """
    captions: dict[str, Any] = {}
    pooled: dict[str, tuple[Any, list[str]]] = {}
    for modality in [m for m in _MEDIA if m in sources and sources[m].label]:
        source = sources[modality]
        everything: list[Input] = []
        for split in [name for name in source.splits if name != TRAIN]:
            progress(f"{modality}: captioning {split}")
            inputs = read_inputs(data, source, split, limit=limit)
            captions.setdefault(modality, {})[split] = _captioned(captioner, inputs, source)
            everything += inputs
        if not everything:
            continue
        progress(f"{modality}: pooled states")
        readable = _readable(captioner, everything)
        references = [source.reference(entry.label) for entry in readable]
        labels = [entry.label for entry in readable]
        pooled[modality] = (
            pooled_states(captioner.loaded, [entry.item for entry in readable]),
            labels,
        )
        pooled[f"{modality}_text"] = (
            pooled_states(captioner.loaded, [Text(r) for r in references]),
            labels,
        )
    return {"captions": captions, "retrieval": _retrieval(pooled)}


def _captioned(
    captioner: Captioner, inputs: Sequence[Input], source: LabelledData
) -> dict[str, Any]:
    results: Any = captioner([entry.item for entry in inputs], details=True, max_new_tokens=64)
    pairs = [(e, c) for e, c in zip(inputs, results, strict=True) if isinstance(c, Caption)]
    figures: dict[str, Any] = {"failed": len(inputs) - len(pairs)}
    if not pairs:
        return figures
    references = [source.reference(entry.label) for entry, _ in pairs]
    figures |= caption_figures(
        [caption.text for _, caption in pairs], references, [entry.label for entry, _ in pairs]
    )
    figures["complete"] = round(sum(c.is_complete for _, c in pairs) / len(pairs), 4)
    step = max(1, len(pairs) // _EXAMPLES)
    figures["examples"] = [
        {"input": entry.name, "reference": reference, "caption": caption.text}
        for (entry, caption), reference in list(zip(pairs, references, strict=True))[::step]
    ]
    return figures


def _readable(captioner: Captioner, inputs: Sequence[Input]) -> list[Input]:
    found = captioner.tokenizer.encode_many(entry.item for entry in inputs)
    return [
        entry
        for entry, result in zip(inputs, found, strict=True)
        if not isinstance(result, InputError)
    ]


def _retrieval(pooled: Mapping[str, tuple[Any, list[str]]]) -> dict[str, Any]:
    """Figures of each ordered pair of kinds that share labels."""
    figures = {}
    for one, other in permutations(pooled, 2):
        if {one, other} == {"image_text", "audio_text"}:
            continue  # texts among themselves are no question of alignment
        (queries, wanted), (candidates, offered) = pooled[one], pooled[other]
        found = retrieval_figures(queries, candidates, wanted, offered)
        if found["queries"]:
            figures[f"{one}_to_{other}"] = found
    return figures
