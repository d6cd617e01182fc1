"""`dvse compose` and `dvse export` killed at any moment, by several processes: the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dvse
from dvse.storage.shard import ShardMetadata, shard_name, shard_schema, write_shard

NUM_SHARDS, NUM_ROWS = 24, 400
RECIPE = '[rows.album]\ndocument = "{image}{text}\\n"\njoin = 3\n'


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Rows of pictures with captions, of the shipped vocabulary."""
    tiny = dvse.load("tiny", threads=1)
    folder, rng = tmp_path_factory.mktemp("tokens"), np.random.default_rng(0)
    specials, schema = tiny.vocabulary.special_tokens, shard_schema("uint16")
    names = ("<|begin_of_image|>", "<|grid_8|>", "<|grid_8|>")
    head = [specials[name] for name in names]
    for number in range(NUM_SHARDS):
        rows = []
        for row in range(NUM_ROWS):
            codes = rng.integers(0, tiny.image.num_codes, 64)
            ids = tiny.vocabulary.image_ids(codes).tolist()
            made = dict.fromkeys(schema.names) | {
                "id": f"{number}-{row}.png",
                "ids": [*head, *ids, specials["<|end_of_image|>"]],
                "modality": "image",
                "num_levels": 1,
                "source": f"/in/{number}-{row}.png",
                "grid_h": 8,
                "grid_w": 8,
                "text": f"picture {row}",
            }
            rows.append(made)
        metadata = ShardMetadata.of(tiny).to_schema_metadata()
        write_shard(folder / shard_name(number), rows, schema=schema, metadata=metadata)
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["compose", "megatron", "mds", "webdataset"])
@pytest.mark.parametrize("rounds", [pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_run_again(tokens, tmp_path, what, rounds):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    words = ["compose", str(recipe), str(tokens), "--output"]
    pieces = []
    if what != "compose":
        words, pieces = ["export", what, str(tokens)], ["--piece-mb", "0.05"]

    def start(output, workers):
        command = [sys.executable, "-m", "pipelines.cli", *words, str(output), *pieces]
        return subprocess.Popen([*command, "--workers", str(workers)], start_new_session=True)

    began = time.monotonic()
    assert start(tmp_path / "whole", 1).wait() == 0
    longest_s = 1.2 * (time.monotonic() - began)
    rng, out, num_killed = random.Random(what), tmp_path / "out", 0
    for _ in range(rounds):
        process = start(out, rng.randint(1, 3))
        time.sleep(rng.uniform(0, longest_s / 2))
        num_killed += process.poll() is None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(out, 2).wait() == 0
    assert num_killed >= rounds // 4, "most runs were through before they were to be killed"
    assert contents(out) == contents(tmp_path / "whole")
    command = [sys.executable, "-m", "pipelines.cli", "verify", out, "--against", tokens]
    assert subprocess.run(command, check=False).returncode == 0
