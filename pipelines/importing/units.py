"""Published speech units as an audio part: an encoder, one of its layers, and its centroids.

A unit is decided by more than weights. Each of these settings is a field here and in the part, and
a `Convention` says all of them at once, as one published code base has them.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from dvse.audio.encoder import AudioEncoder, NormalizeOver
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.preparer import check_padding, check_rate
from dvse.audio.published_encoder import (
    published_config,
    recorded_normalization,
    recorded_rate_hz,
)
from dvse.audio.resampling import RESAMPLER
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook import Codebook
from dvse.errors import ConfigError, WeightsFormatError
from dvse.storage.part import Part
from pipelines.importing.centroids import Centroids, read_centroids
from pipelines.importing.encoder import EncoderFacts, import_encoder
from pipelines.importing.new_folder import new_folder

MAX_CHUNK_S = 1_000_000
"""Eleven days: a recording that no encoder sees at once."""


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """What decides units beside weights; `None` where nobody has said it yet.

    Attributes:
        normalize: scale the input to mean 0 and variance 1.
        normalize_over: `recording`, the whole of it before it is cut; or `window`, each stretch.
        variance_floor: added to that variance.
        final_norm: the last layer of a pre-norm encoder passes its final norm.
        pad_samples: zeros before and after a recording.
        chunk_s: seconds that the encoder sees at once; longer recordings are cut, without overlap.
        merge_repeats: a run of equal units becomes one.
    """

    normalize: bool | None = None
    normalize_over: NormalizeOver | None = None
    variance_floor: float | None = None
    final_norm: bool | None = None
    pad_samples: int | None = None
    chunk_s: float | None = None
    merge_repeats: bool | None = None

    def __post_init__(self) -> None:
        if self.chunk_s is not None and not 0 < self.chunk_s <= MAX_CHUNK_S:
            raise ConfigError(f"expected a chunk_s of 0 to {MAX_CHUNK_S}, received {self.chunk_s}")
        if self.variance_floor is not None and not 0 < self.variance_floor < 1:
            raise ConfigError(f"expected a variance_floor in 0..1, received {self.variance_floor}")
        if self.pad_samples is not None:
            check_padding(self.pad_samples)


_PUBLISHED = UnitSettings(
    normalize_over="recording", pad_samples=0, chunk_s=100.0, merge_repeats=False
)
CONVENTIONS: Mapping[str, UnitSettings] = {
    # examples/hubert/simple_kmeans: `layer_norm` of the file with torch's epsilon, then 1,600,000
    # samples at once; `output_layer` stops before the final norm; units as they come.
    "fairseq": replace(_PUBLISHED, variance_floor=1e-5, final_norm=False),
    # The same reader; its speech encoder merges repeats unless told not to.
    "textlesslib": replace(_PUBLISHED, variance_floor=1e-5, final_norm=False, merge_repeats=True),
    # seamless_communication's unit extractor, whose `out_layer_idx` counts from 0 (34: layer 35).
    # A file of an odd number of samples gets one more there, of value 2; here it does not.
    "seamless": replace(_PUBLISHED, normalize=True, variance_floor=1e-5, final_norm=False),
    # `hidden_states[layer]` of the whole recording, scaled by the feature extractor.
    "transformers": replace(_PUBLISHED, variance_floor=1e-7, final_norm=True),
    # 40 zeros at each end make exactly 50 frames a second; repeats merged with their durations.
    "slamkit": replace(
        _PUBLISHED, variance_floor=1e-7, final_norm=True, pad_samples=40, merge_repeats=True
    ),
}
"""Published code bases, by what they do to a recording. Whether to normalise belongs to a model."""


def import_units(
    output: Path,
    *,
    centroids: Path,
    encoder: str | Path,
    layer: int,
    convention: str | None = None,
    settings: UnitSettings | None = None,
    facts: EncoderFacts | None = None,
    revision: str | None = None,
    sample_rate_hz: int | None = None,
    licence: str = "",
) -> Part:
    """Write the part into `output`, whole or not at all.

    Args:
        centroids: any file that `read_centroids` takes.
        encoder: a directory of transformers, a checkpoint file that `import_encoder` takes, or a
            Hub name, which `revision` pins.
        layer: as in transformers' `hidden_states[layer]`, which is fairseq's `output_layer`.
        convention: a name of `CONVENTIONS`; single `settings` go before it.
        sample_rate_hz: of the encoder; by default what its own files say, else 16,000.

    Raises:
        ConfigError: a setting that nobody has said, a layer that the encoder does not have, or an
            output folder in use.
        BundleError: centroids or encoder that cannot be taken in, see there; centroids of another
            width than the layer.
        TrainingError: the disk is full.
    """
    said = _merged(settings or UnitSettings(), convention)
    if sample_rate_hz is not None:
        check_rate(sample_rate_hz)
    with new_folder(output, "the part") as folder:
        book = read_centroids(Path(centroids))
        source, name = encoder, str(encoder)
        if Path(encoder).is_file():
            name, imported = Path(encoder).name, folder / "imported"
            source = _imported(Path(encoder), imported, facts, said, sample_rate_hz)
        said = _settled(source, said, where=name, layer=layer, revision=revision)
        if (rate_hz := sample_rate_hz) is None:
            rate_hz = recorded_rate_hz(str(source), revision) or 16_000
        tokenizer = _tokenizer(
            source, book, said, layer=layer, revision=revision, sample_rate_hz=rate_hz
        )
        shutil.rmtree(folder / "imported", ignore_errors=True)
        tokenizer.save_files(folder)
        provenance = {
            "command": "dvse import units",
            "convention": convention,
            "centroids": dict(book.provenance),
            "encoder": _made_of(tokenizer, name, revision),
            "layer": layer,
            "licence": licence,
            "settings": _recorded(said, rate_hz),
        }
        spec = tokenizer.spec()
        Part(modality="audio", folder=folder, spec=spec, provenance=provenance).save()
    return Part.load(output, modality="audio")


def _imported(
    checkpoint: Path,
    folder: Path,
    facts: EncoderFacts | None,
    said: UnitSettings,
    sample_rate_hz: int | None,
) -> Path:
    facts = facts or EncoderFacts()
    if facts.normalize is None:
        facts = replace(facts, normalize=said.normalize)
    return import_encoder(checkpoint, folder, facts=facts, sample_rate_hz=sample_rate_hz)


def _made_of(tokenizer: AudioTokenizer, name: str, revision: str | None) -> dict[str, Any]:
    return {
        "name": Path(name).name if Path(name).exists() else name,
        "revision": revision,
        "weights_sha256": weights_sha256(tokenizer.encoder.model),
    }


def _recorded(said: UnitSettings, sample_rate_hz: int) -> dict[str, Any]:
    """Return everything that decides units, also what `spec` leaves out as a default."""
    return {
        **asdict(said),
        "overlap_s": 0.0,
        "sample_rate_hz": sample_rate_hz,
        "resampler": RESAMPLER,
    }


def _merged(settings: UnitSettings, convention: str | None) -> UnitSettings:
    if convention is None:
        return settings
    if convention not in CONVENTIONS:
        raise ConfigError(
            f"expected a convention among {', '.join(CONVENTIONS)}, received {convention!r}"
        )
    base = CONVENTIONS[convention]
    said = {
        field.name: value
        for field in fields(settings)
        if (value := getattr(settings, field.name)) is not None
    }
    return replace(base, **said)


def _settled(
    source: str | Path, said: UnitSettings, *, where: str, layer: int, revision: str | None
) -> UnitSettings:
    """Take from the encoder's own files what they say; refuse what stays open."""
    config = published_config(str(source), revision)
    if said.normalize is None:
        said = replace(said, normalize=recorded_normalization(str(source), revision))
    if said.normalize is False:  # nothing is scaled, so it does not matter how
        floor, over = said.variance_floor or 1e-7, said.normalize_over or "window"
        said = replace(said, variance_floor=floor, normalize_over=over)
    has_final_norm = config.do_stable_layer_norm and layer == config.num_hidden_layers
    if said.final_norm is None and not has_final_norm:
        said = replace(said, final_norm=True)  # there is none to leave out
    options = {
        "normalize": "--normalize yes|no",
        "normalize_over": "--normalize-over recording|window (published extractors: recording)",
        "variance_floor": "--variance-floor (1e-5 in fairseq, 1e-7 in transformers)",
        "final_norm": "--final-norm yes|no (the last layer: fairseq no, transformers yes)",
        "pad_samples": "--pad-samples (slamkit 40, others 0)",
        "chunk_s": "--chunk-s (fairseq 100)",
        "merge_repeats": "--merge-repeats yes|no",
    }
    if missing := [text for name, text in options.items() if getattr(said, name) is None]:
        raise ConfigError(
            f"{where}: units also depend on what nobody has said yet; say {'; '.join(missing)}; "
            f"or --convention {'|'.join(CONVENTIONS)}, which says all but --normalize"
        )
    return said


def _tokenizer(
    source: str | Path,
    book: Centroids,
    said: UnitSettings,
    *,
    layer: int,
    revision: str | None,
    sample_rate_hz: int,
) -> AudioTokenizer:
    assert said.normalize is not None and said.final_norm is not None
    assert said.variance_floor is not None and said.chunk_s is not None
    assert said.normalize_over is not None
    width = published_config(str(source), revision).hidden_size
    if book.vectors.shape[1] != width:
        raise WeightsFormatError(
            f"{book.provenance['file']}: expected centroids of {width} channels, as layer "
            f"{layer} has them, received {book.vectors.shape[1]}"
        )
    encoder = AudioEncoder.from_pretrained(
        source,
        layer=layer,
        revision=revision,
        normalize=said.normalize,
        variance_floor=said.variance_floor,
        final_norm=said.final_norm,
        normalize_over=said.normalize_over,
    )
    chunk_samples = round(said.chunk_s * sample_rate_hz)
    if chunk_samples < encoder.grid.reach:
        raise ConfigError(
            f"expected a chunk_s of at least {encoder.grid.reach / sample_rate_hz:g}, one frame, "
            f"received {said.chunk_s:g}"
        )
    hub_weights = None
    if not Path(source).is_dir():
        hub_weights = HubWeights(
            repo=str(source), revision=revision, sha256=weights_sha256(encoder.model)
        )
    options: dict[str, Any] = {"metric": book.provenance.get("metric", "euclidean")}
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.from_numpy(book.vectors)[None], **options),
        sample_rate_hz=sample_rate_hz,
        windowing=SampleChunks(chunk_samples=chunk_samples),
        merge_repeats=bool(said.merge_repeats),
        pad_samples=said.pad_samples or 0,
        hub_weights=hub_weights,
    )
