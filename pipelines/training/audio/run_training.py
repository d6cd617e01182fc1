"""Learns runs of units from finished tokens: no recording is encoded again.

Every fiftieth recording is held out; the figures come from those alone.
"""

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from dvse.blocks import KINDS
from dvse.dataset.shard_set import ShardSet
from dvse.errors import ConfigError, TrainingError
from dvse.remote.remote_path import Location
from dvse.storage.shard import read_metadata, read_shard
from dvse.tokenizer import Tokenizer, load
from dvse.vocabulary import Vocabulary
from pipelines.codebooks.run_figures import run_figures
from pipelines.codebooks.run_learning import learn_runs
from pipelines.training.audio.run_settings import RunRecipe
from pipelines.training.learnt_runs import LearntRuns, codes_sha256
from pipelines.training.parts import hash_files, writing_part

_HOLD_OUT = 50


def train_runs(recipe: RunRecipe, output: Path) -> LearntRuns:
    """Learn runs from the recordings in token shards and write them into `output`.

    Raises:
        ConfigError: a bundle without units of one level, or shards of another bundle.
        ShardError: no shards, or one that cannot be read.
        TrainingError: fewer than two recordings, or a full disk.
    """
    tokenizer = load(recipe.bundle)
    if tokenizer.audio is None or tokenizer.audio.num_levels != 1:
        raise ConfigError(
            f"bundle {recipe.bundle!r}: expected audio codes of one level, for runs of residual "
            "levels are not defined; choose another bundle"
        )
    sets = [ShardSet(folder) for folder in recipe.tokens]
    paths = [path for one in sets for path in one.paths]
    _check_bundle(paths, tokenizer)
    share = min(1.0, recipe.max_ids / max(sum(one.num_ids for one in sets), 1))
    recordings = list(_recordings(paths, tokenizer.vocabulary, share, recipe.seed))
    held_out = recordings[::_HOLD_OUT]
    learnt_from = [codes for n, codes in enumerate(recordings) if n % _HOLD_OUT]
    if not learnt_from:
        raise TrainingError(
            "expected at least two recordings, for the first and every 50th after it are held "
            f"out; received {len(recordings)} in {', '.join(map(str, recipe.tokens))}"
        )
    known = tokenizer.vocabulary.runs
    runs = learn_runs(learnt_from, known=known, num_runs=recipe.num_runs)
    learnt = LearntRuns(
        num_codes=runs.num_codes,
        codes_sha256=codes_sha256(tokenizer.audio, runs.num_codes),
        runs=runs.runs,
        metrics={
            "held_out": f"every {_HOLD_OUT}th recording, {len(held_out)} in all",
            **run_figures(runs, held_out),
        },
        provenance={
            "command": f"dvse train bpe --num-runs {recipe.num_runs} --max-ids "
            f"{recipe.max_ids} --seed {recipe.seed}",
            "bundle": {"name": tokenizer.name, "fingerprint": tokenizer.fingerprint},
            "runs_before": len(known),
            "tokens": [
                {"name": shlex.quote(Path(str(folder)).name), "sha256": hash_files(one.paths)}
                for folder, one in zip(recipe.tokens, sets, strict=True)
            ],
            "recordings": len(learnt_from),
            "codes": int(sum(map(len, learnt_from))),
        },
    )
    with writing_part(output):
        learnt.save(output)
    return learnt


def _check_bundle(paths: Sequence[Location], tokenizer: Tokenizer) -> None:
    for path in paths:
        made_with = read_metadata(path)
        if made_with.bundle_fingerprint != tokenizer.fingerprint:
            raise ConfigError(
                f"{path} was made with the bundle {made_with.bundle!r} "
                f"({made_with.bundle_fingerprint[:16]}…), not with {tokenizer.name!r} "
                f"({tokenizer.fingerprint[:16]}…); name the right one with --bundle"
            )


def _recordings(
    paths: Sequence[Location], vocabulary: Vocabulary, share: float, seed: int
) -> Iterator[np.ndarray]:
    """Yield the codes of the recordings in a share of the rows, also of those in mixed rows."""
    rng = np.random.default_rng(seed)
    for path in paths:
        rows = read_shard(path, ["ids"])["ids"]
        for ids in chain.from_iterable(chunk for chunk in rows.chunks):
            if share < 1 and rng.random() >= share:
                continue
            yield from _codes(ids.values.to_numpy().astype(np.int64), vocabulary)


def _codes(ids: np.ndarray, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    is_audio = vocabulary.kinds(ids) == KINDS.index("audio")
    edges = np.flatnonzero(np.diff(np.r_[False, is_audio, False]))
    for start, stop in edges.reshape(-1, 2):
        yield vocabulary.codes_of("audio", ids[start:stop])[0]
