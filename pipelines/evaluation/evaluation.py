"""From a bundle or model and labelled data to figures and a verdict on each threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.errors import TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.evaluation.audio_measures import audio_figures
from pipelines.evaluation.data_layout import TRAIN, read_layout
from pipelines.evaluation.encoded import EncodedInput, encode_inputs
from pipelines.evaluation.image_measures import image_figures
from pipelines.evaluation.inputs import read_inputs, read_texts
from pipelines.evaluation.text_quality import text_figures
from pipelines.evaluation.thresholds import Verdict, judge

if TYPE_CHECKING:
    from pipelines.answering.captioner import Captioner


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How much is measured.

    Attributes:
        max_train: inputs of the training split that maps and probes are learnt from.
        max_inputs: inputs of each other split.
        probe: train the probes (most of the time that an evaluation takes).
        codes: measure the codes at all; without, only the decoder is judged.
    """

    max_train: int = 4000
    max_inputs: int = 1000
    probe: bool = True
    codes: bool = True


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found.

    Attributes:
        metrics: the content of `metrics.json`.
        verdicts: one for each threshold.
        inputs: what was measured, by modality and split, to be shown beside the figures.
    """

    metrics: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    inputs: Mapping[str, Mapping[str, Sequence[EncodedInput]]]


def evaluate(
    tokenizer: Tokenizer,
    data: Path,
    *,
    thresholds: Mapping[str, Mapping[str, Any]],
    captioner: "Captioner | None" = None,
    layout: Path | None = None,
    settings: EvaluationSettings | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Measure a bundle; `pipelines.reports.evaluation_report` writes down what was found.

    Args:
        tokenizer: with the bundle.
        data: folder with labelled data, see `pipelines.evaluation.data_layout`.
        thresholds: as `pipelines.evaluation.thresholds`.
        captioner: with the decoder, where a model is judged and not a bundle alone.
        layout: description of the data, if it does not lie beside it.
        settings: how much is measured.
        progress: told what is being done.

    Raises:
        TrainingError: data that cannot be read, or labels that do not match.
    """
    settings = settings or EvaluationSettings()
    sources = read_layout(data, layout)
    metrics: dict[str, Any] = {
        "bundle": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "settings": asdict(settings),
        "numerics": tokenizer.profile.to_dict(),
    }
    encoded: dict[str, dict[str, list[EncodedInput]]] = {}
    for modality, measure in (("image", image_figures), ("audio", audio_figures)):
        is_there = modality in sources and getattr(tokenizer, modality) is not None
        if not is_there or not settings.codes:
            continue
        progress(f"{modality}: tokenising")
        splits = {
            split: encode_inputs(
                tokenizer,
                modality,
                read_inputs(
                    data,
                    sources[modality],
                    split,
                    limit=settings.max_train if split == TRAIN else settings.max_inputs,
                ),
            )
            for split in sources[modality].splits
        }
        encoded[modality] = dict(splits)
        if TRAIN not in splits or len(splits) < 2:
            raise TrainingError(
                f"{modality}: expected a description with train and at least one split to measure"
            )
        train = splits.pop(TRAIN)
        progress(f"{modality}: measuring {', '.join(splits)}")
        metrics[modality] = measure(tokenizer, train, splits, probe=settings.probe)
    if "text" in sources and settings.codes:
        metrics["text"] = text_figures(tokenizer.text, read_texts(data, sources["text"]))
    if captioner is not None:
        from pipelines.evaluation.decoder_measures import decoder_figures

        metrics |= decoder_figures(
            captioner, data, sources, limit=settings.max_inputs, progress=progress
        )
    verdicts = tuple(judge(metrics, thresholds))
    metrics["gate"] = [asdict(verdict) for verdict in verdicts]
    return Evaluation(metrics=metrics, verdicts=verdicts, inputs=encoded)
