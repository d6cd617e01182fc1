"""A model or bundle as a directory of ONNX graphs, which DVSE opens as the bundle that it was.

    dvse.json, vocabulary.json, text/     the bundle, with sections of kind `onnx`
    image/codes.onnx, audio/codes.onnx    pixels and samples to codes, nearest-code search in them
    model.onnx, config.json               the decoder, as optimum lays one out
    export.json                           from what, with what, and how well it agrees

An exported bundle has a fingerprint of its own: its graphs decide tokens, not the weights they were
made from.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError
from dvse.storage.bundle import Bundle, Section, write_bundle
from dvse.storage.weight_files import check_weight_files
from dvse.tokenizer import Tokenizer
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.room import check_room
from pipelines.answering.whole_directory import write_whole
from pipelines.runtimes.agreement import (
    codes_agreement,
    decoder_agreement,
    pictures,
    recordings,
)
from pipelines.runtimes.onnx_settings import OnnxSettings
from pipelines.runtimes.source import Source, refuse_strangers, write_json
from pipelines.runtimes.tracing import OPSET, check_extra, traced, write

_BITS = {"int8": 8, "int4": 4}
_LARGEST_ERROR = 1e-4  # of a logit, over the largest logit, in fp32
_FEWEST_SAME = 0.99  # of the codes of noise
_MODEL = "model.onnx"


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """What came of it.

    Attributes:
        folder: where it lies.
        figures: what was measured, a line each.
    """

    folder: Path
    figures: Mapping[str, str]


def export_onnx(
    name: str | Path,
    output: Path,
    settings: OnnxSettings | None = None,
    *,
    note: Callable[[str], None] = lambda line: None,
) -> OnnxExport:
    """Export a model (or a bundle alone) and prove it, then give it its name.

    Args:
        name: a shipped name, a directory or a Hub id.
        output: a new directory, or an export to replace.
        settings: how.
        note: told what is being done.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        BundleError: there is no such bundle, or a graph does not agree with what it was made from.
        ConfigError: something of which no graph can be made, see `Source.find`, too little memory,
            or `output` holds something else.
    """
    settings = settings or OnnxSettings()
    check_extra()
    source = Source.find(name)
    if settings.weights != "float32" and source.folders is None:
        raise ConfigError(
            f"--weights {settings.weights}: {source.name} has no decoder, and encoders stay in "
            "float32"
        )
    if source.folders is not None:
        check_room(source.folders.decoder, dtype="float32")
    refuse_strangers(output)
    if source.folders is not None:
        check_weight_files(source.folders.decoder)
    tokenizer = Tokenizer.from_bundle(source.bundle)
    figures: dict[str, str] = {}

    def fill(draft: Path) -> None:
        bundle = _write_tokenizer(tokenizer, source.bundle, draft, figures, note)
        if source.folders is not None:
            _write_decoder(source, bundle, draft, settings, figures, note)
        write_json(draft / "export.json", _about(source, settings, figures))

    write_whole(output.absolute(), fill)
    return OnnxExport(folder=output, figures=figures)


def _write_tokenizer(
    tokenizer: Tokenizer,
    source: Bundle,
    draft: Path,
    figures: dict[str, str],
    note: Callable[[str], None],
) -> Bundle:
    """Write the sections of a bundle, and the bundle around them."""
    sections = {"text": source.sections["text"]}
    shutil.copytree(source.folder / "text", draft / "text")
    for modality, media in (("image", tokenizer.image), ("audio", tokenizer.audio)):
        if media is not None:
            note(f"{modality}: tracing")
            module, inputs, spec = _half(modality, media)
            path = draft / modality / "codes.onnx"
            write(traced(module), path)
            share = codes_agreement(module, path, inputs)
            _check(share >= _FEWEST_SAME, f"{modality}: {share:.1%} of codes of noise are the same")
            figures[f"{modality}_same_codes"] = f"{share:.2%}"
            before = source.sections[modality]
            made = {**before.provenance, "exported_from": source.fingerprint, "opset": OPSET}
            sections[modality] = Section(spec=spec, metrics=before.metrics, provenance=made)
    return write_bundle(
        draft,
        name=source.name,
        vocabulary=source.vocabulary,
        sections=sections,
        card=source.card,
    )


def _half(modality: str, media: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the module, arrays to compare on and the spec of one section."""
    preparer, codes = media.preparer, {"num_codes": media.num_codes, "num_levels": media.num_levels}
    if modality == "image":
        from dvse.image import onnx_tokenizer as image
        from dvse.image.code_graph import PictureCodes

        spec = image.onnx_spec(preparer, **codes)
        return PictureCodes(media), pictures(preparer.geometry), spec
    from dvse.audio import onnx_tokenizer as audio
    from dvse.audio.code_graph import RecordingCodes

    spec = audio.onnx_spec(preparer, merge_repeats=media.merge_repeats, **codes)
    return RecordingCodes(media), recordings(preparer), spec


def _write_decoder(
    source: Source,
    bundle: Bundle,
    draft: Path,
    settings: OnnxSettings,
    figures: dict[str, str],
    note: Callable[[str], None],
) -> None:
    from model.graph.step import DecoderStep
    from pipelines.runtimes.weight_bits import with_bits

    note("decoder: tracing")
    step = DecoderStep(load_to_answer(source.name, dtype="float32").model)
    model = traced(step)
    is_whole = settings.weights == "float32"
    if not is_whole:
        note(f"decoder: weights in {settings.weights}")
        model = with_bits(model, _BITS[settings.weights])
    write(model, draft / _MODEL)
    note("decoder: comparing at other shapes")
    found = decoder_agreement(step, draft / _MODEL)
    if is_whole:
        _check(
            found.logit_error <= _LARGEST_ERROR, f"logits differ by {found.logit_error:.1e} of them"
        )
    figures["logit_error"] = f"{found.logit_error:.1e} of the largest logit"
    figures["same_tokens"] = f"{found.num_same} of {found.num_tokens}"
    config = {**source.config, "bundle_fingerprint": bundle.fingerprint}
    config.pop("auto_map", None)  # there are no weights that the code could load
    write_json(draft / "config.json", config)


def _check(holds: bool, what: str) -> None:
    from dvse.errors import BundleIntegrityError

    if not holds:
        raise BundleIntegrityError(
            f"the graph does not agree with what it was made from: {what}; nothing was written"
        )


def _about(source: Source, settings: OnnxSettings, figures: Mapping[str, str]) -> dict[str, Any]:
    libraries = ("torch", "onnx", "onnxscript", "onnxruntime", "dvse")
    return {
        "exported_from": {"name": source.bundle.name, "fingerprint": source.bundle.fingerprint},
        **asdict(settings),
        "opset": OPSET,
        "versions": {name: metadata.version(name) for name in libraries},
        "figures": dict(figures),
    }
