"""Units of an existing speech encoder: its features, clustered, as an audio part."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import InputError, TrainingError
from dvse.items import Audio
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Clustering, cluster, remove_progress
from pipelines.codebooks.kmeans import KMeansSettings
from pipelines.runs.processes import Processes
from pipelines.training.audio.draft import UnitSettings, draft_tokenizer, with_codebook
from pipelines.training.audio.part import write_audio_part
from pipelines.training.parts import hash_files

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".au", ".caf")


def train_units(
    paths: Sequence[Path],
    output: Path,
    *,
    encoder: str | Path,
    revision: str | None = None,
    sample_rate_hz: int = 16_000,
    settings: UnitSettings,
    clustering: Clustering | None = None,
) -> Part:
    """Cluster a layer of a published encoder over recordings and write the part into `output`.

    Under `torch.distributed` each process reads its share of the files, and the first one writes.

    Args:
        paths: files, or folders that are searched for audio files.
        encoder: a directory of transformers, or a Hub name (then `revision` pins it).
        clustering: by default one level of Lloyd's algorithm over a sample in memory.

    Raises:
        BundleNotFoundError: no such encoder.
        TrainingError: no recordings, none that can be read, fewer different frames than codes, or
            a disk that is full: see `pipelines.codebooks.clustering.cluster`.
    """
    clustering = clustering or Clustering(
        kmeans=KMeansSettings(num_codes=settings.num_codes, seed=settings.seed),
        max_frames=settings.max_frames,
    )
    files = audio_files(paths)
    loaded = AudioEncoder.from_pretrained(encoder, layer=settings.layer, revision=revision)
    weights = weights_sha256(loaded.model)
    hub_weights = None
    if not Path(encoder).is_dir():
        hub_weights = HubWeights(repo=str(encoder), revision=revision, sha256=weights)
    draft = draft_tokenizer(loaded, sample_rate_hz, settings, hub_weights)
    processes = Processes()
    if len(files) < processes.count:
        raise TrainingError(
            f"expected a recording for each of {processes.count} processes, received {len(files)}"
        )
    data_sha256 = hash_files(files)
    made_here = not output.exists()
    try:
        units = cluster(
            lambda: _file_features(draft, files[processes.rank :: processes.count]),
            output,
            clustering,
            dim=loaded.dim,
            about={
                "encoder": weights,
                "layer": settings.layer,
                "data": data_sha256,
                "sample_rate_hz": sample_rate_hz,
                "windows": [settings.window_s, settings.hop_s],
            },
        )
    except TrainingError:
        # Kept features and checkpoints stay for the next try; folders without any do not.
        if made_here:
            _remove_empty_folders(output)
        raise
    tokenizer = with_codebook(draft, units.codebook)
    metrics = {**units.figures, "files": len(files)}
    provenance = {
        "command": f"dvse train audio --encoder {Path(encoder).name} --layer {settings.layer} "
        f"--num-codes {settings.num_codes}",
        "clustering": {
            **clustering.kmeans.to_dict(),
            "mode": clustering.mode,
            "frames": "all" if clustering.keep_features else clustering.max_frames,
        },
        "data": {"files": len(files), "sha256": data_sha256},
    }
    if processes.rank:
        return Part(modality="audio", folder=output, spec=tokenizer.spec(), metrics=metrics)
    part = write_audio_part(tokenizer, output, metrics=metrics, provenance=provenance)
    remove_progress(output)
    return part


def audio_files(paths: Sequence[Path]) -> list[Path]:
    """Return the audio files in files and folders, sorted.

    Raises:
        TrainingError: none there.
    """
    found: set[Path] = set()
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
    return sorted(found)


def _file_features(draft: AudioTokenizer, files: Sequence[Path]) -> Iterator[np.ndarray]:
    failed = 0
    for path in tqdm(files, desc="features", unit="file", disable=None):
        try:
            for chunk in draft.preparer.prepare(Audio(path)):
                yield from draft.embed([chunk])
        except InputError as error:
            failed += 1
            logger.warning("%s", error)
    if failed == len(files):
        raise TrainingError(f"none of {failed} recordings could be read; see the messages above")


def _remove_empty_folders(folder: Path) -> None:
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
