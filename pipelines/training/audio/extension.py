"""More units for an audio part: the old centroids stay in their place, the rest is learnt.

What comes out can take the part's place in a bundle (`dvse build-bundle --base`): old ids keep
their meaning, new ones stand behind all others. A frame that a new unit names better gets that one.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvse.audio.hub_weights import weights_sha256
from dvse.audio.loading import load_audio_tokenizer
from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import ConfigError, TrainingError
from dvse.remote.remote_path import Location
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Units, cluster, remove_progress
from pipelines.runs.processes import Processes
from pipelines.training.audio.part import write_audio_part
from pipelines.training.audio.settings import ExtensionRecipe
from pipelines.training.audio.units import (
    audio_files,
    check_place,
    features_at,
    remove_empty_folders,
    where_encoded,
)
from pipelines.training.audio.window_share import read_recordings, window_figures
from pipelines.training.parts import hash_files


def extend_units(recipe: ExtensionRecipe, output: Path) -> Part:
    """Learn new units beside those of a part and write the bigger part into `output`.

    Encoder, layer, windows and all other settings are the part's. Under `torch.distributed` each
    process reads its share of the files, and the first one writes.

    Raises:
        BundleError: no such part.
        ConfigError: no more codes than it has, another number of levels, codes compared by angle,
            a codec, whose codebooks are its own, or an output in the place of the part.
        TrainingError: see `pipelines.training.audio.units.train_units`.
    """
    old = Part.load(recipe.extend, modality="audio")
    if output.resolve() == old.folder.resolve():
        raise ConfigError(
            f"{output}: expected another folder than the part that --extend names, which stays"
        )
    tokenizer = load_audio_tokenizer(old.spec, old.folder)
    _check(recipe, tokenizer)
    check_place(recipe.place)
    files, processes = audio_files(recipe.data), Processes()
    if len(files) < processes.count:
        raise TrainingError(
            f"expected a recording for each of {processes.count} processes, received {len(files)}"
        )
    data_sha256, made_here = hash_files(files), not output.exists()
    try:
        mine = files[processes.rank :: processes.count]
        units = _clustered(recipe, old, tokenizer, mine, output, data_sha256=data_sha256)
    except TrainingError:
        if made_here:
            remove_empty_folders(output)
        raise
    bigger = tokenizer.with_codebook(units.codebook)
    metrics = {**units.figures, "files": len(files)}
    if processes.rank:
        return Part(modality="audio", folder=output, spec=bigger.spec(), metrics=metrics)
    recordings = read_recordings(bigger, files)
    metrics |= window_figures(bigger, recordings, num_frames=units.num_seen)
    kmeans = recipe.clustering.kmeans
    provenance = {
        **old.provenance,
        "command": f"dvse train audio --extend {recipe.extend.name} --num-codes {kmeans.num_codes}",
        "extended": {
            "from": old.provenance.get("command", ""),
            "kept_codes": tokenizer.num_codes,
            "clustering": {
                **kmeans.to_dict(),
                "mode": recipe.clustering.mode,
                **where_encoded(recipe.place),
            },
            "data": {"files": len(files), "sha256": data_sha256},
        },
    }
    part = write_audio_part(bigger, output, metrics=metrics, provenance=provenance)
    remove_progress(output)
    return part


def _clustered(
    recipe: ExtensionRecipe,
    old: Part,
    tokenizer: AudioTokenizer,
    files: Sequence[Location],
    output: Path,
    *,
    data_sha256: str,
) -> Units:
    assert tokenizer.codebook is not None
    return cluster(
        lambda: features_at(
            recipe.place, tokenizer, files, make=_loaded(old), threads=recipe.threads
        ),
        output,
        recipe.clustering,
        dim=tokenizer.encoder.dim,
        kept=tokenizer.codebook.centroids,
        about={
            "encoder": weights_sha256(tokenizer.encoder.model),
            "spec": {n: v for n, v in tokenizer.spec().items() if n != "weights"},
            "data": data_sha256,
            **where_encoded(recipe.place),
        },
    )


def _loaded(part: Part) -> "functools.partial[AudioTokenizer]":
    """What loads the part onto a device, wherever that is."""
    return functools.partial(_load, part.spec, part.folder.absolute())


def _load(spec: Mapping[str, Any], folder: Path, device: str) -> AudioTokenizer:
    return load_audio_tokenizer(spec, folder, device=device)


def _check(recipe: ExtensionRecipe, tokenizer: AudioTokenizer) -> None:
    book, kmeans = tokenizer.codebook, recipe.clustering.kmeans
    if book is None:
        raise ConfigError(
            f"{recipe.extend}: expected units with centroids of their own, received a codec, whose "
            "codebooks belong to it"
        )
    if book.metric != "euclidean":
        raise ConfigError(
            f"{recipe.extend}: its codes are compared by {book.metric}; only Euclidean ones can be "
            "learnt on"
        )
    if kmeans.num_codes <= book.num_codes or kmeans.num_levels != book.num_levels:
        raise ConfigError(
            f"{recipe.extend}: expected --num-codes above {book.num_codes} and --num-levels "
            f"{book.num_levels}, received {kmeans.num_codes} and {kmeans.num_levels}"
        )
