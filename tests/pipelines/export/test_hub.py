"""`--push-to`: the data set and its card on a Hub of this machine, by the real clients."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fake_hub import fake_hub
from huggingface_hub import DatasetCard
from token_folder import write_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tokens(tmp_path):
    write_folder(tmp_path / "tokens")
    return tmp_path / "tokens"


def push(tokens, address):
    """In a process of its own: the clients take their endpoint when they are imported."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": address,
        "HF_TOKEN": "hf_made_up",
        "HF_HOME": str(tokens.parent / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    out = str(tokens.parent / "hub")
    args = ["export", "datasets", str(tokens), out, "--split", "train:0.8", "test:0.2"]
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *args, "--push-to", "me/tokens"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_rows_and_card_arrive_and_a_second_push_changes_nothing(tokens):
    with fake_hub() as (hub, address):
        done = push(tokens, address)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{address}/datasets/me/tokens"
        first = dict(hub.files["me/tokens"])
        assert push(tokens, address).returncode == 0
        assert hub.files["me/tokens"] == first
    rows = write_folder(tokens.parent / "again")
    found = {
        row["id"]: row
        for name, data in first.items()
        if name.endswith(".parquet")
        for row in pq.read_table(io.BytesIO(data)).to_pylist()
    }
    assert {row["id"]: row["ids"].tolist() for row in rows} == {
        name: row["ids"] for name, row in found.items()
    }
    card = DatasetCard(first["README.md"].decode())
    # The head is push_to_hub's: where the files of each split are. The text is ours.
    assert {s["split"] for s in card.data.configs[0]["data_files"]} == {"train", "test"}
    assert "tokens" in card.data.tags
    assert "Bundle `b`, fingerprint `fingerprint of b`" in card.text
    assert "Vocabulary of 9,600 ids" in card.text
    counts = [line for line in card.text.splitlines() if line.startswith(("| train", "| test"))]
    assert sum(int(line.split("|")[2].replace(",", "")) for line in counts) == len(rows)


def test_a_hub_that_says_no_is_one_sentence_and_nothing_is_lost(tokens):
    with fake_hub() as (hub, address):
        hub.is_open = False
        done = push(tokens, address)
    assert done.returncode == 1
    assert "--push-to me/tokens: the Hugging Face Hub did not take it" in done.stderr
    assert "hf auth login" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (tokens.parent / "hub" / "dvse-export.json").exists()
