"""What decides the tokens of a part or a bundle, beside weights, as text for a person.

One line a setting, read off the JSON description; nothing is loaded and no weight is read but the
header of a codebook. A field that is not known here is shown as it stands, so nothing is left out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvse.audio.resampling import RESAMPLER

Lines = Iterator[tuple[str, str]]

_CODEBOOK = "codebook.safetensors"


def deciding_lines(
    modality: str, spec: Mapping[str, Any], folder: Path, provenance: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a line for each setting of one modality, and where its weights are from.

    Args:
        modality: `text`, `image` or `audio`.
        spec: its JSON description.
        folder: holds its files.
        provenance: where it is from.
    """
    if modality == "audio":
        settings = provenance.get("settings")
        recorded = settings.get("resampler") if isinstance(settings, Mapping) else None
        describe = _codec if spec.get("kind") == "codec" else _units
        lines = describe(spec, recorded or RESAMPLER)
    elif modality == "image":
        lines = _image(spec)
    else:
        lines = iter(sorted((name, f"{value}") for name, value in spec.items()))
    for label, value in (*lines, *_codebook(folder), *_origin(provenance)):
        yield f"{label:18}{value}"


def _units(spec: Mapping[str, Any], resampler: str) -> Lines:
    encoder, rate = dict(spec["encoder"]), spec["sample_rate_hz"]
    floor = encoder.get("variance_floor", 1e-7)
    yield "encoder", f"{encoder.pop('architecture')}, layer {encoder.pop('layer')}"
    yield "sample rate", f"{rate} Hz, one channel (the mean of several)"
    yield "resampler", resampler
    over = encoder.pop("normalize_over", "window")
    yield "normalisation", _normalisation(encoder.pop("normalize"), over, floor)
    yield (
        "final norm",
        "yes, where the layer is the last of a pre-norm encoder"
        if encoder.pop("final_norm", True)
        else "no, the last layer is taken before it",
    )
    yield "padding", f"{spec.get('pad_samples', 0)} zeros at each end"
    yield "cuts", _cuts(spec["windows"], rate)
    yield "repeats", "merged, with their durations" if spec["merge_repeats"] else "kept"
    encoder.pop("variance_floor", None)
    encoder.pop("config", None)
    known = {"sample_rate_hz", "encoder", "windows", "merge_repeats", "pad_samples", "weights"}
    yield from _rest({**encoder, **{n: v for n, v in spec.items() if n not in known}})


def _normalisation(normalize: bool, over: str, floor: float) -> str:
    if not normalize:
        return "none"
    what = "the whole recording" if over == "recording" else "each stretch"
    return f"{what} to mean 0 and variance 1, epsilon {floor:g}"


def _cuts(windows: Mapping[str, Any], rate: int) -> str:
    if "hop_samples" in windows:
        last = "filled up with silence" if windows.get("fill_last") else "as long as it is"
        return (
            f"{windows['chunk_samples'] / rate:g} s every {windows['hop_samples'] / rate:g} s, all "
            f"frames of each kept; the last stretch is {last}"
        )
    if "chunk_samples" in windows:
        seconds = windows["chunk_samples"] / rate
        return f"after each {seconds:g} s, without overlap; shorter recordings are encoded whole"
    return (
        f"windows of {windows['window_frames']} frames every {windows['hop_frames']}, each keeps "
        "its half of an overlap; shorter recordings are encoded whole"
    )


def _codec(spec: Mapping[str, Any], resampler: str) -> Lines:
    codec = dict(spec["codec"])
    config = codec.get("config", {})
    rate = config.get("sampling_rate")
    yield "codec", f"{codec['architecture']}"
    loudness = ", and the loudness of each stretch" if codec.get("keep_loudness") else ""
    yield "levels", f"{codec['num_levels']}, the first of those that it has{loudness}"
    if rate is not None:
        stereo = config.get("audio_channels", 1) == 2
        channels = (
            "two channels (one goes to both)" if stereo else "one channel (the mean of several)"
        )
        yield "sample rate", f"{rate} Hz, {channels}"
    yield "resampler", resampler
    is_scaled = codec["architecture"] == "encodec" and config.get("normalize")
    yield "normalisation", "each stretch to a power of 1" if is_scaled else "none"
    yield "padding", "the last frame is filled up with silence"
    samples = spec["windows"]["chunk_samples"]
    yield "cuts", _cuts(spec["windows"], rate) if rate else f"after each {samples} samples"
    yield "repeats", "kept"
    yield from _rest({n: v for n, v in spec.items() if n not in ("kind", "codec", "windows")})


def _image(spec: Mapping[str, Any]) -> Lines:
    encoder, quantizer = dict(spec["encoder"]), dict(spec["quantizer"])
    kind = encoder.pop("kind", "timm")
    name = encoder.pop("name", None) or encoder.pop("architecture", "")
    yield "encoder", f"{kind} {name}".strip()
    yield "size", _size(spec["geometry"])
    yield "pixels", f"mean {encoder.pop('mean')}, std {encoder.pop('std')}, of 0..1"
    yield "codes of", _way_in(quantizer)
    yield "way back", "to pixels" if spec.get("decoder") is not None else "none"
    yield from _rest({n: v for n, v in encoder.items() if n not in ("options", "config")})
    known = ("geometry", "encoder", "quantizer", "decoder", "weights")
    yield from _rest({n: v for n, v in spec.items() if n not in known})


def _size(geometry: Mapping[str, Any]) -> str:
    match geometry["kind"]:
        case "crop":
            codes = geometry["num_latents"] or (geometry["size"] // geometry["patch_size"]) ** 2
            return (
                f"short side to {geometry['resize']} ({geometry['resample']}, no draft), centre "
                f"{geometry['size']}x{geometry['size']}, {codes} codes"
            )
        case "area":
            return (
                f"own aspect, {geometry['min_pixels']:,}..{geometry['max_pixels']:,} pixels "
                f"({geometry['resample']}, no draft), a code for {geometry['patch_size']}x"
                f"{geometry['patch_size']}"
            )
        case "square":
            return f"centre square to {geometry['size']} (bicubic), patches of " + str(
                geometry["patch_size"]
            )
        case _:
            return ", ".join(f"{name} {value}" for name, value in geometry.items())


def _way_in(quantizer: Mapping[str, Any]) -> str:
    way = "features"
    if "hidden_dim" in quantizer:
        way = f"features through an MLP of {quantizer['hidden_dim']} (tanh)"
    elif quantizer["project_in"]:
        way = "features through a linear map"
    return f"{way}, {quantizer['code_dim']} channels, {quantizer['kind']}"


def _codebook(folder: Path) -> Lines:
    path = folder / _CODEBOOK
    if not path.is_file():
        return
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        levels, codes, dim = file.get_slice("centroids").get_shape()
        metric = (file.metadata() or {}).get("metric", "euclidean")
    yield "codebook", f"{levels} levels of {codes} codes, {dim} channels, compared by {metric}"


def _origin(provenance: Mapping[str, Any]) -> Lines:
    for name in ("convention", "family", "licence"):
        if provenance.get(name):
            yield name, f"{provenance[name]}"
    for name in ("encoder", "centroids", "weights"):
        if isinstance(provenance.get(name), Mapping):
            about = {n: v for n, v in provenance[name].items() if v is not None}
            yield f"{name} from", ", ".join(f"{n} {v}" for n, v in about.items())

    extended = provenance.get("extended")
    if isinstance(extended, Mapping) and "kept_codes" in extended:
        yield "extended", f"the first {extended['kept_codes']} codes are older, the rest came later"


def _rest(fields: Mapping[str, Any]) -> Lines:
    for name, value in fields.items():
        if value not in (None, (), [], {}):
            yield name.replace("_", " "), f"{value}"
