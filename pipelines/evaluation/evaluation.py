"""From a bundle or model and labelled data to figures and a verdict on each threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.errors import ConfigError, TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.evaluation.audio_measures import audio_figures
from pipelines.evaluation.data_layout import TRAIN, LabelledData, read_layout
from pipelines.evaluation.encoded import EncodedInput, encode_inputs
from pipelines.evaluation.image_measures import image_figures
from pipelines.evaluation.inputs import read_inputs, read_texts
from pipelines.evaluation.phone_measures import phone_measures
from pipelines.evaluation.precision_effect import caption_effect, precision_figures
from pipelines.evaluation.reconstruction import PictureJudge
from pipelines.evaluation.settings import EvaluationSettings
from pipelines.evaluation.text_quality import text_figures
from pipelines.evaluation.thresholds import Verdict, judge
from pipelines.settings import recorded

if TYPE_CHECKING:
    from pipelines.answering.captioner import Captioner


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
    reference: "Tokenizer | Captioner | None" = None,
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
        reference: the same in fp32; what fewer bits change is measured against it.
        layout: description of the data, if it does not lie beside it.
        settings, progress: how much is measured; told what is being done.

    Raises:
        TrainingError, ConfigError: data that cannot be read, other labels, the units of a codec.
    """
    settings = settings or EvaluationSettings()
    sources = read_layout(data, layout)
    metrics = _head(tokenizer, settings)
    image_measure = partial(image_figures, judge=_picture_judge(tokenizer, settings))
    encoded: dict[str, dict[str, list[EncodedInput]]] = {}
    for modality, measure in (("image", image_measure), ("audio", audio_figures)):
        if modality not in sources or not (settings.codes and getattr(tokenizer, modality)):
            continue
        progress(f"{modality}: tokenising")
        encoded[modality] = _encoded(tokenizer, modality, data, sources[modality], settings)
        splits = dict(encoded[modality])
        train = splits.pop(TRAIN)
        progress(f"{modality}: measuring {', '.join(splits)}")
        metrics[modality] = measure(tokenizer, train, splits, probe=settings.probe)
        if modality == "audio":
            for split, found in phone_measures(tokenizer, data, sources["audio"], splits).items():
                metrics["audio"]["splits"][split] |= found
    if "text" in sources and settings.codes:
        metrics["text"] = text_figures(tokenizer.text, read_texts(data, sources["text"]))
    if captioner is not None:
        from pipelines.evaluation.decoder_measures import decoder_figures

        metrics |= decoder_figures(
            captioner, data, sources, limit=settings.max_inputs, progress=progress
        )
    if reference is not None:
        progress("the same in float32")
        metrics["precision"] = precision_figures(tokenizer, _front_door(reference), encoded)
        if "captions" in metrics and not isinstance(reference, Tokenizer):
            metrics["precision"]["captions"] = caption_effect(
                metrics["captions"], reference, data, sources, limit=settings.max_inputs
            )
    verdicts = tuple(judge(metrics, thresholds))
    metrics["gate"] = [asdict(verdict) for verdict in verdicts]
    return Evaluation(metrics=metrics, verdicts=verdicts, inputs=encoded)


def _head(tokenizer: Tokenizer, settings: EvaluationSettings) -> dict[str, Any]:
    return {
        "bundle": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "settings": recorded(settings),
        "numerics": tokenizer.profile.to_dict(),
    }


def _picture_judge(tokenizer: Tokenizer, settings: EvaluationSettings) -> PictureJudge | None:
    """Loaded first, for a file that is missing should cost no measuring."""
    image: Any = tokenizer.image
    is_asked = bool(settings.lpips) or settings.rfid is not None
    if image is None or image.decoder is None:
        if is_asked:
            raise ConfigError(
                "--lpips and --rfid judge rebuilt pictures; this bundle has no way back to pixels"
            )
        return None
    return PictureJudge(lpips=settings.lpips, rfid=settings.rfid, device=str(image.device))


def _front_door(judged: "Tokenizer | Captioner") -> Tokenizer:
    return judged if isinstance(judged, Tokenizer) else judged.tokenizer


def _encoded(
    tokenizer: Tokenizer,
    modality: str,
    data: Path,
    source: LabelledData,
    settings: EvaluationSettings,
) -> dict[str, list[EncodedInput]]:
    """Return the inputs of each split with their codes; there are `train` and one to measure."""
    if modality == "audio" and getattr(tokenizer, modality).codebook is None:
        raise ConfigError(
            "audio: units are judged by their centroids, and the codes of a codec have none; leave "
            "audio out of the description of the data"
        )
    splits = {}
    for split in source.splits:
        limit = settings.max_train if split == TRAIN else settings.max_inputs
        inputs = read_inputs(data, source, split, limit=limit)
        splits[split] = encode_inputs(tokenizer, modality, inputs)
    if TRAIN not in splits or len(splits) < 2:
        raise TrainingError(
            f"{modality}: expected a description with train and at least one split to measure"
        )
    return splits
