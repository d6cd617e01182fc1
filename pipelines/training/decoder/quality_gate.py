"""Two decoders of one bundle beside each other: what the second loses, and whether it may.

What is judged is what a decoder is for: the loss of held-out answers, how often a gate decides
otherwise, and, where labelled data is at hand, accuracy and words of its captions.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dvse.errors import TrainingError
from dvse.storage.shard import find_shards, read_shard
from model.evaluation import evaluating
from pipelines.answering.captioner import Captioner
from pipelines.answering.model_directory import LoadedModel
from pipelines.evaluation.data_layout import read_layout
from pipelines.evaluation.decoder_measures import decoder_figures
from pipelines.training.decoder.gates import answer_loss
from pipelines.training.decoder.quantization_settings import Bounds
from pipelines.training.decoder.recipe import DecoderRecipe

_GATE_ROWS = 50


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Figures before and after, and what is wrong with them.

    Attributes:
        figures: loss, perplexity, gates that flip, accuracies, word errors, bytes, of both models.
        misses: a sentence for each bound that is passed; empty is good.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    misses: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield the rows of a table: what, before, after."""
        figures = self.figures
        old, new = figures["weight_bytes"]
        yield f"| weights | {old / 1e6:.1f} MB | {new / 1e6:.1f} MB |"
        for name in ("answer_loss", "perplexity"):
            if name in figures:
                yield f"| {name.replace('_', ' ')} | {figures[name][0]} | {figures[name][1]} |"
        if "gates_that_flip" in figures:
            yield f"| gates that decide otherwise | | {figures['gates_that_flip']:.2%} |"
        for name, words in (("accuracy", "accuracy"), ("word_error_rate", "word error")):
            for split, (before, after) in figures.get(name, {}).items():
                yield f"| {words}, {split} | {before:.1%} | {after:.1%} |"


def judge(
    before: LoadedModel,
    after: LoadedModel,
    bounds: Bounds,
    *,
    tokens: Path | None,
    data: Path | None,
    progress: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Measure both and compare.

    Args:
        before, after: decoders that read the same ids.
        bounds: what the second may lose.
        tokens: shards of held-out conversations, made with their bundle.
        data: labelled data as `dvse evaluate` takes it.

    Raises:
        TrainingError: shards without answers, or data that cannot be read.
    """
    figures: dict[str, Any] = {"weight_bytes": [_num_bytes(m.model) for m in (before, after)]}
    misses: list[str] = []
    if tokens is not None:
        progress("loss of held-out answers")
        misses += _judge_answers(before, after, bounds, tokens, figures)
    if data is not None:
        misses += _judge_captions(before, after, bounds, data, figures, progress)
    return Judgement(figures=figures, misses=tuple(misses))


def _judge_answers(
    before: LoadedModel, after: LoadedModel, bounds: Bounds, tokens: Path, figures: dict[str, Any]
) -> Iterator[str]:
    losses = [answer_loss(m.model, tokens, DecoderRecipe()) for m in (before, after)]
    if not all(math.isfinite(loss) and loss > 0 for loss in losses):
        raise TrainingError(f"{tokens}: expected rows with answers in them, found none")
    figures["answer_loss"] = [round(loss, 5) for loss in losses]
    figures["perplexity"] = [round(math.exp(loss), 4) for loss in losses]
    figures["loss_increase"] = grown = round(losses[1] / losses[0] - 1, 4)
    if grown > bounds.max_loss_increase:
        yield (
            f"the loss of held-out answers grows by {grown:.1%}, wanted at most "
            f"{bounds.max_loss_increase:.1%}"
        )
    if not before.model.config.use_token_gate:
        return
    figures["gates_that_flip"] = flips = round(_gates_that_flip(before, after, tokens), 4)
    if flips > bounds.max_gate_flips:
        yield (
            f"{flips:.1%} of the gates decide otherwise, wanted at most {bounds.max_gate_flips:.1%}"
        )


def _judge_captions(
    before: LoadedModel,
    after: LoadedModel,
    bounds: Bounds,
    data: Path,
    figures: dict[str, Any],
    progress: Callable[[str], None],
) -> Iterator[str]:
    layout = read_layout(data, None)
    both = [
        decoder_figures(Captioner(m), data, layout, limit=bounds.limit, progress=progress)
        for m in (before, after)
    ]
    splits = [(m, s) for m, found in both[0]["captions"].items() for s in found]
    for name, most, sign in (
        ("accuracy", bounds.max_accuracy_loss, -1),
        ("word_error_rate", bounds.max_word_error_increase, 1),
    ):
        for modality, split in splits:
            pair = [found["captions"][modality][split].get(name) for found in both]
            if None in pair:
                continue  # nothing that it could be measured by
            figures.setdefault(name, {})[f"{modality} {split}"] = pair
            if sign * (pair[1] - pair[0]) > most:
                yield (
                    f"{name.replace('_', ' ')} of {modality} {split} goes from {pair[0]:.1%} to "
                    f"{pair[1]:.1%}, wanted at most {most:.1%} worse"
                )


@torch.no_grad()
def _gates_that_flip(before: LoadedModel, after: LoadedModel, tokens: Path) -> float:
    """Share of (token, layer) pairs whose gate decides otherwise, over the first rows."""
    first = find_shards(tokens)[0]
    rows = read_shard(first, columns=["ids"])["ids"][:_GATE_ROWS].to_pylist()
    flipped = total = 0
    with evaluating(before.model), evaluating(after.model):
        for row in rows:
            old, new = (_open_gates(m, torch.tensor([row])) for m in (before, after))
            flipped += int((old != new).sum())
            total += old.numel()
    return flipped / max(total, 1)


def _open_gates(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    config = loaded.model.config
    logits = loaded.model(ids.to(loaded.model.device), output_gate_logits=True).gate_logits
    return torch.stack([g >= config.gate_threshold(i) for i, g in enumerate(logits)])


def _num_bytes(model: Any) -> int:
    tensors = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())
