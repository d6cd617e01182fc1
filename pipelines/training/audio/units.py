"""Units of an existing speech encoder: its features, clustered, as an audio part."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import InputError, TrainingError
from dvse.remote.remote_path import Location
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Units, cluster, remove_progress
from pipelines.runs.processes import Processes
from pipelines.training.audio.draft import draft_tokenizer
from pipelines.training.audio.part import write_audio_part
from pipelines.training.audio.recordings import recording_at
from pipelines.training.audio.settings import UnitFeatures, UnitRecipe
from pipelines.training.audio.window_share import read_recordings, window_figures
from pipelines.training.parts import hash_files

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".au", ".caf")


def train_units(recipe: UnitRecipe, output: Path) -> Part:
    """Cluster a layer of a published encoder over recordings and write the part into `output`.

    Under `torch.distributed` each process reads its share of the files, and the first one writes.

    Raises:
        BundleNotFoundError: no such encoder.
        TrainingError: no recordings, none that can be read, fewer different frames than codes, or
            a disk that is full: see `pipelines.codebooks.clustering.cluster`.
    """
    files = audio_files(recipe.data)
    draft = _draft(recipe)
    data_sha256 = hash_files(files)
    units = _clustered(recipe, draft, files, output, data_sha256=data_sha256)
    tokenizer = draft.with_codebook(units.codebook)
    metrics = {**units.figures, "files": len(files)}
    if Processes().rank:
        return Part(modality="audio", folder=output, spec=tokenizer.spec(), metrics=metrics)
    logger.info("measuring how much units depend on the cut of long recordings")
    metrics |= window_figures(tokenizer, read_recordings(tokenizer, files))
    kmeans, wanted = recipe.clustering.kmeans, recipe.encoder
    provenance = {
        "command": f"dvse train audio --encoder {Path(wanted.name).name} "
        f"--layer {recipe.units.layer} --num-codes {kmeans.num_codes}",
        "clustering": {
            **kmeans.to_dict(),
            "mode": recipe.clustering.mode,
            "frames": "all" if recipe.clustering.keep_features else recipe.clustering.max_features,
            **_rounding(recipe),
        },
        "data": {"files": len(files), "sha256": data_sha256},
    }
    part = write_audio_part(tokenizer, output, metrics=metrics, provenance=provenance)
    remove_progress(output)
    return part


def _draft(recipe: UnitRecipe) -> AudioTokenizer:
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
    return draft_tokenizer(encoder, wanted.sample_rate_hz, recipe.units, hub_weights)


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
            lambda: file_features(
                draft.in_precision(recipe.precision), files[processes.rank :: processes.count]
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
            },
        )
    except TrainingError:
        # Kept features and checkpoints stay for the next try; folders without any do not.
        if made_here:
            remove_empty_folders(output)
        raise


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
            for chunk in draft.preparer.prepare(recording_at(path)):
                yield from draft.embed([chunk])
        except InputError as error:
            failed += 1
            logger.warning("%s", error)
    if failed == len(files):
        raise TrainingError(f"none of {failed} recordings could be read; see the messages above")


def remove_empty_folders(folder: Path) -> None:
    """Delete the folders of a run that failed, as far as nothing lies in them."""
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
