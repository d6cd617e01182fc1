"""Units of an existing speech encoder: its features, clustered, as an audio part."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.chunk import Chunk
from dvse.errors import ConfigError, InputError, TrainingError
from dvse.precision import Precision
from dvse.remote.remote_path import Location
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Units, cluster, remove_progress
from pipelines.runs.processes import Processes
from pipelines.training.audio.draft import draft_tokenizer
from pipelines.training.audio.part import write_audio_part
from pipelines.training.audio.recordings import recording_at
from pipelines.training.audio.settings import FeaturePlace, UnitFeatures, UnitRecipe
from pipelines.training.audio.window_share import read_recordings, window_figures
from pipelines.training.parts import hash_files

logger = logging.getLogger(__name__)

_MAX_CHUNKS = 64
"""Windows that a device takes at once; their features are held until the recording ends."""
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".au", ".caf")


def train_units(recipe: UnitRecipe, output: Path) -> Part:
    """Cluster a layer of a published encoder over recordings and write the part into `output`.

    Under `torch.distributed` each process reads its share of the files, and the first one writes.

    Raises:
        BundleNotFoundError: no such encoder.
        TrainingError: no recordings, none that can be read, fewer different frames than codes, or
            a disk that is full: see `pipelines.codebooks.clustering.cluster`.
    """
    check_place(recipe.place)
    files = audio_files(recipe.data)
    draft = _draft(recipe)
    data_sha256 = hash_files(files)
    units = _clustered(recipe, draft, files, output, data_sha256=data_sha256)
    tokenizer = draft.with_codebook(units.codebook)
    metrics = {**units.figures, "files": len(files)}
    if Processes().rank:
        return Part(modality="audio", folder=output, spec=tokenizer.spec(), metrics=metrics)
    logger.info("measuring how much units depend on the cut of long recordings")
    recordings = read_recordings(tokenizer, files)
    metrics |= window_figures(tokenizer, recordings, num_frames=units.num_seen)
    kmeans, wanted = recipe.clustering.kmeans, recipe.encoder
    provenance = {
        "command": f"dvse train audio --encoder {Path(wanted.name).name} "
        f"--layer {recipe.units.layer} --num-codes {kmeans.num_codes}",
        "clustering": {
            **kmeans.to_dict(),
            "mode": recipe.clustering.mode,
            "frames": "all" if recipe.clustering.keep_features else recipe.clustering.max_features,
            **_rounding(recipe),
            **where_encoded(recipe.place),
        },
        "data": {"files": len(files), "sha256": data_sha256},
    }
    part = write_audio_part(tokenizer, output, metrics=metrics, provenance=provenance)
    remove_progress(output)
    return part


def _draft(recipe: UnitRecipe, device: str = "cpu") -> AudioTokenizer:
    wanted, scaling = recipe.encoder, recipe.units.normalize
    encoder = AudioEncoder.from_pretrained(
        wanted.name,
        layer=recipe.units.layer,
        revision=wanted.revision,
        normalize=None if scaling == "encoder" else scaling != "none",
        normalize_over="window" if scaling == "window" else "recording",
        variance_floor=recipe.units.variance_floor,
    )
    hub_weights = None
    if not Path(wanted.name).is_dir():
        hub_weights = HubWeights(
            repo=wanted.name, revision=wanted.revision, sha256=weights_sha256(encoder.model)
        )
    rate_hz = wanted.sample_rate_hz
    return draft_tokenizer(encoder, rate_hz, recipe.units, hub_weights, device=device)


def _clustered(
    recipe: UnitRecipe,
    draft: AudioTokenizer,
    files: Sequence[Location],
    output: Path,
    *,
    data_sha256: str,
) -> Units:
    processes = Processes()
    if len(files) < processes.count:
        raise TrainingError(
            f"expected a recording for each of {processes.count} processes, received {len(files)}"
        )
    made_here = not output.exists()
    try:
        return cluster(
            lambda: features_at(
                recipe.place,
                draft,
                files[processes.rank :: processes.count],
                make=functools.partial(_draft, _seen_from_anywhere(recipe)),
                threads=recipe.threads,
                precision=recipe.precision,
            ),
            output,
            recipe.clustering,
            dim=draft.encoder.dim,
            about={
                "encoder": weights_sha256(draft.encoder.model),
                "layer": recipe.units.layer,
                "data": data_sha256,
                "sample_rate_hz": recipe.encoder.sample_rate_hz,
                "windows": _cut(recipe.units),
                "normalize": _scaling(draft.encoder.config),
                **_rounding(recipe),
                **where_encoded(recipe.place),
            },
        )
    except TrainingError:
        # Kept features and checkpoints stay for the next try; folders without any do not.
        if made_here:
            remove_empty_folders(output)
        raise


def _seen_from_anywhere(recipe: UnitRecipe) -> UnitRecipe:
    """The recipe with its encoder by absolute path: nodes are started in folders of their own."""
    folder = Path(recipe.encoder.name)
    if not folder.is_dir():
        return recipe
    return replace(recipe, encoder=replace(recipe.encoder, name=str(folder.absolute())))


def check_place(place: FeaturePlace) -> None:
    """Refuse several processes that would each join a cluster.

    Raises:
        ConfigError: it is so.
    """
    if place.is_cluster and Processes().count > 1:
        raise ConfigError("--engine ray: expected one process, which the cluster works for")


def where_encoded(place: FeaturePlace) -> dict[str, str]:
    """Return what is recorded of features that no processor has made."""
    return {} if place.encode_on == "cpu" else {"encoded_on": place.encode_on}


def features_at(
    place: FeaturePlace,
    draft: AudioTokenizer,
    files: Sequence[Location],
    *,
    make: Callable[[str], AudioTokenizer],
    threads: int,
    precision: Precision = "float32",
) -> Iterator[np.ndarray]:
    """Return the features of recordings, made here or on the nodes of a cluster.

    Args:
        place: where.
        draft: what encodes, as it is here.
        files: the recordings, in order.
        make: loads it onto a device, on a node.
        threads, precision: of the encoder.

    Raises:
        TrainingError: none of the recordings can be read.
    """
    if not place.is_cluster:
        return file_features(draft.in_precision(precision), files)
    from pipelines.training.audio.engine_features import engine_features
    from pipelines.training.audio.feature_step import FeatureStep

    return engine_features(
        place.placement().engine(max_chunks=_MAX_CHUNKS),
        FeatureStep(make=make, threads=threads, precision=precision),
        files,
        weights=weights_sha256(draft.encoder.model),
    )


def _cut(units: UnitFeatures) -> list[float]:
    return [units.window_s, units.hop_s] if units.chunk_s is None else [units.chunk_s]


def _scaling(config: EncoderConfig) -> str:
    floor = f"{config.variance_floor:g}"
    return f"over each {config.normalize_over}, floor {floor}" if config.normalize else "none"


def _rounding(recipe: UnitRecipe) -> dict[str, str]:
    return {} if recipe.precision == "float32" else {"precision": recipe.precision}


def audio_files(paths: Sequence[Location]) -> list[Location]:
    """Return the audio files in files and folders, sorted.

    Raises:
        TrainingError: none there.
    """
    found: set[Location] = set()
    for path in paths:
        if isinstance(path, Path) and not path.exists():
            raise TrainingError(f"{path}: expected a recording or a folder of them, there is none")
        if path.is_dir():
            found |= {p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES}
        else:
            found.add(path)
    if not found:
        raise TrainingError(
            f"expected recordings ({' '.join(AUDIO_SUFFIXES)}) in "
            f"{', '.join(map(str, paths))}, found none"
        )
    return sorted(found, key=str)


def file_features(draft: AudioTokenizer, files: Sequence[Location]) -> Iterator[np.ndarray]:
    """Yield the features `fp32 [frames, dim]` of recordings; the log says what cannot be read.

    Raises:
        TrainingError: none of them can be read.
    """
    failed = 0
    for path in tqdm(files, desc="features", unit="file", disable=None):
        try:
            yield from _features(draft, draft.preparer.prepare(recording_at(path)))
        except InputError as error:
            failed += 1
            logger.warning("%s", error)
    if failed == len(files):
        raise TrainingError(f"none of {failed} recordings could be read; see the messages above")


def _features(draft: AudioTokenizer, chunks: Iterator[Chunk]) -> Iterator[np.ndarray]:
    """Yield the features of a recording's chunks, in full forward passes.

    Where it breaks off, or a chunk gives none, those before are yielded and the error is raised.
    """
    waiting: list[Chunk] = []
    broken: InputError | None = None
    while broken is None:
        try:
            chunk = next(chunks, None)
        except InputError as error:
            broken = error
            continue
        if chunk is None:
            break
        waiting.append(chunk)
        if len(waiting) >= draft.batch_rows(chunk.shape):
            yield from _embedded(draft, waiting)
            waiting = []
    yield from _embedded(draft, waiting)
    if broken is not None:
        raise broken


def _embedded(draft: AudioTokenizer, chunks: Sequence[Chunk]) -> Iterator[np.ndarray]:
    try:
        yield from draft.embed(chunks)
    except InputError:
        for chunk in chunks:  # those before the one to blame
            yield from draft.embed([chunk])


def remove_empty_folders(folder: Path) -> None:
    """Delete the folders of a run that failed, as far as nothing lies in them."""
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
