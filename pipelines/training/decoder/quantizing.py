"""A model directory with 8 or 4 bits a weight, judged beside the one it was made from.

What is judged is what the decoder is for: the loss of held-out answers and, where labelled data is
at hand, the accuracy of its captions. A model that loses more than it may is not written.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dvse.errors import ConfigError, TrainingError
from dvse.storage.atomic_file import write_atomically
from model import DvseForCausalLM, fitting_group_size, quantize
from pipelines.answering.captioner import Captioner
from pipelines.answering.model_directory import LoadedModel, find_model, load_model, save_model
from pipelines.evaluation.data_layout import read_layout
from pipelines.evaluation.decoder_measures import decoder_figures
from pipelines.training.decoder.gates import answer_loss
from pipelines.training.decoder.recipe import DecoderRecipe

FIGURES_FILE = "quantization.json"


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings:
    """What is made of a decoder, and what it may cost.

    Attributes:
        bits: 8 or 4 bits a weight.
        group_size: weights that share a scale at 4 bits; by default the largest that fits.
        max_loss_increase: by how much the loss of held-out answers may grow, as a share of it.
        max_accuracy_loss: by how much the accuracy of captions may fall, 0 … 1.
        limit: captions of each split that are asked for.
    """

    bits: int = 8
    group_size: int | None = None
    max_loss_increase: float = 0.05
    max_accuracy_loss: float = 0.015
    limit: int = 500


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Figures before and after, and what is wrong with them.

    Attributes:
        figures: loss, perplexity, accuracies, bytes, of both models.
        misses: a sentence for each bound that is passed; empty is good.
    """

    figures: Mapping[str, Any]
    misses: tuple[str, ...]


def quantize_model(
    name: str | Path,
    output: Path,
    settings: QuantizationSettings,
    *,
    tokens: Path | None,
    data: Path | None,
    write_anyway: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Write the quantized model into `output` if it is good enough.

    Args:
        name: a shipped name, a model directory or a Hub id.
        tokens: shards of held-out conversations, made with the model's bundle.
        data: labelled data as `dvse evaluate` takes it.
        write_anyway: also where it is not good enough, or was not judged.

    Raises:
        ConfigError: nothing to judge it by, or settings that do not fit the decoder.
        TrainingError: shards or data that cannot be read.
    """
    if tokens is None and data is None and not write_anyway:
        raise ConfigError(
            "expected held-out token shards (--tokens) or labelled data (--data) to judge the "
            "quantized model by; --write-anyway goes without"
        )
    folders = find_model(name)
    folders.refuse_adapters("quantizing")
    group_size = settings.group_size
    before = load_model(name)
    if group_size is None:
        group_size = 128 if settings.bits == 8 else fitting_group_size(before.model.config)
    after = load_model(name)
    quantize(after.model, bits=settings.bits, group_size=group_size)
    judgement = _judge(before, after, settings, tokens=tokens, data=data, progress=progress)
    if judgement.misses and not write_anyway:
        return judgement
    save_model(after.model, folders.bundle, output)
    about = {
        "settings": {**asdict(settings), "group_size": group_size},
        "made_from": folders.name,
        **judgement.figures,
        "misses": list(judgement.misses),
    }
    write_atomically(output / FIGURES_FILE, (json.dumps(about, indent=2) + "\n").encode())
    _write_card(folders.decoder / "README.md", output / "README.md", about)
    return judgement


def _judge(
    before: LoadedModel,
    after: LoadedModel,
    settings: QuantizationSettings,
    *,
    tokens: Path | None,
    data: Path | None,
    progress: Callable[[str], None],
) -> Judgement:
    figures: dict[str, Any] = {"weight_bytes": [_num_bytes(m.model) for m in (before, after)]}
    misses: list[str] = []
    if tokens is not None:
        progress("loss of held-out answers")
        losses = [answer_loss(m.model, tokens, DecoderRecipe()) for m in (before, after)]
        if not all(math.isfinite(loss) and loss > 0 for loss in losses):
            raise TrainingError(f"{tokens}: expected rows with answers in them, found none")
        figures["answer_loss"] = [round(loss, 5) for loss in losses]
        figures["perplexity"] = [round(math.exp(loss), 4) for loss in losses]
        grown = losses[1] / losses[0] - 1
        figures["loss_increase"] = round(grown, 4)
        if grown > settings.max_loss_increase:
            misses.append(
                f"the loss of held-out answers grows by {grown:.1%}, wanted at most "
                f"{settings.max_loss_increase:.1%}"
            )
        if before.model.config.use_token_gate:
            figures["gates_that_flip"] = round(_gates_that_flip(before, after, tokens), 4)
    if data is not None:
        accuracies = [_accuracies(m, data, settings.limit, progress) for m in (before, after)]
        figures["accuracy"] = {
            name: [accuracies[0][name], accuracies[1][name]] for name in accuracies[0]
        }
        for name, (old, new) in figures["accuracy"].items():
            if old - new > settings.max_accuracy_loss:
                misses.append(
                    f"accuracy of {name} falls from {old:.1%} to {new:.1%}, wanted at most "
                    f"{settings.max_accuracy_loss:.1%} less"
                )
    return Judgement(figures=figures, misses=tuple(misses))


def _accuracies(
    loaded: LoadedModel, data: Path, limit: int, progress: Callable[[str], None]
) -> dict[str, float]:
    found = decoder_figures(
        Captioner(loaded), data, read_layout(data, None), limit=limit, progress=progress
    )
    return {
        f"{modality} {split}": figures["accuracy"]
        for modality, splits in found["captions"].items()
        for split, figures in splits.items()
        if figures.get("accuracy") is not None
    }


@torch.no_grad()
def _gates_that_flip(before: LoadedModel, after: LoadedModel, tokens: Path) -> float:
    """Share of (token, layer) pairs whose gate decides otherwise, over the first rows."""
    from dvse.storage.shard import find_shards, read_shard

    first = find_shards(tokens)[0]
    flipped = total = 0
    for row in read_shard(first, columns=["ids"])["ids"][:50].to_pylist():
        ids = torch.tensor(row)[None]
        open_gates = []
        for loaded in (before, after):
            config = loaded.model.config
            logits = loaded.model(ids, output_gate_logits=True).gate_logits
            open_gates.append(
                torch.stack([g >= config.gate_threshold(i) for i, g in enumerate(logits)])
            )
        flipped += int((open_gates[0] != open_gates[1]).sum())
        total += open_gates[0].numel()
    return flipped / max(total, 1)


def _num_bytes(model: DvseForCausalLM) -> int:
    tensors = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _write_card(source: Path, target: Path, about: Mapping[str, Any]) -> None:
    """Put the figures behind the card of the model it was made from."""
    card = source.read_text(encoding="utf-8") if source.is_file() else "# A DVSE decoder\n"
    settings = about["settings"]
    lines = [f"\n## {settings['bits']} bits a weight\n"]
    lines.append(
        f"Made from `{about['made_from']}` by `dvse quantize`; embedding, head, router and gates "
        "are as they were. The figures above are those of the model before.\n"
    )
    lines += ["| | before | after |", "|---|---|---|"]
    old, new = about["weight_bytes"]
    lines.append(f"| weights | {old / 1e6:.1f} MB | {new / 1e6:.1f} MB |")
    for name in ("answer_loss", "perplexity"):
        if name in about:
            lines.append(f"| {name.replace('_', ' ')} | {about[name][0]} | {about[name][1]} |")
    for name, (before, after) in about.get("accuracy", {}).items():
        lines.append(f"| accuracy, {name} | {before:.1%} | {after:.1%} |")
    write_atomically(target, (card.rstrip() + "\n" + "\n".join(lines) + "\n").encode())
