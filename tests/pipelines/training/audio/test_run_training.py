"""From finished tokens to a bundle whose recordings are shorter and say the same."""

import json

import numpy as np
import pyarrow.compute as pc
import pytest

import dvse
from dvse.errors import ConfigError, TrainingError
from dvse.storage.shard import find_shards, read_shard
from pipelines.cli import main
from pipelines.training.audio.run_settings import RunRecipe
from pipelines.training.audio.run_training import train_runs

RATE_HZ = 8000


def melody(rng):
    """A second of three tones of a scale of four, so that units come in runs."""
    time = np.arange(RATE_HZ // 3) / RATE_HZ
    tones = [0.3 * np.sin(2 * np.pi * hz * time) for hz in rng.choice([200, 300, 450, 700], 3)]
    return np.concatenate(tones).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings and their tokens, the runs learnt from these, the bundle, tokens again."""
    import soundfile

    where = tmp_path_factory.mktemp("bpe")
    (where / "speech").mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        soundfile.write(where / f"speech/{number:02d}.wav", melody(rng), RATE_HZ)
    (where / "speech/words.txt").write_text("do re mi")
    learn = ["--bundle", "tiny", "--num-runs", "40"]
    for words in (
        ["tokenize", where / "speech", "--output", where / "tokens"],
        ["train", "bpe", "--tokens", where / "tokens", *learn, "--output", where / "bpe"],
        ["build-bundle", "--base", "tiny", "--bpe", where / "bpe", "--output", where / "bundle"],
        ["tokenize", where / "speech", "--bundle", where / "bundle", "--output", where / "short"],
    ):
        words += ["--workers", "0"] * (words[0] == "tokenize")
        assert main(list(map(str, words))) == 0, words
    return where


def rows_of(folder):
    return {row["id"]: row for path in find_shards(folder) for row in read_shard(path).to_pylist()}


def test_recordings_are_shorter_and_say_the_same(folder):
    old, new = dvse.load("tiny"), dvse.load(folder / "bundle")
    before, after = rows_of(folder / "tokens"), rows_of(folder / "short")
    assert before.keys() == after.keys()
    lengths = [sum(len(row["ids"]) for row in rows.values()) for rows in (before, after)]
    assert lengths[1] < 0.7 * lengths[0]
    for name, row in before.items():
        again = after[name]["ids"]
        if name == "words.txt":
            assert again == row["ids"]
            continue
        (one,), (two,) = old.decode(row["ids"]), new.decode(again)
        assert one.units.tolist() == two.units.tolist()
        # What is no run has the id that it had: nothing moved.
        is_old = np.array(again) < old.vocabulary.num_ids
        assert set(np.array(again)[is_old]) <= set(row["ids"])
        assert new.decode(row["ids"])[0].units.tolist() == one.units.tolist()


def test_it_is_verified_shown_and_read_like_any_other(folder, capsys):
    assert main(["verify", str(folder / "short"), "--samples", "20"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(folder / "short"), "--id", "00.wav"]) == 0
    assert " units in " in capsys.readouterr().out
    assert main(["inspect", str(folder / "bundle")]) == 0
    shown = capsys.readouterr().out
    assert "audio runs 0..39" in shown and "codes_per_id" in shown
    # The tokens are of another vocabulary, which a mixture and the old bundle refuse.
    assert main(["inspect", str(folder / "short"), "--bundle", "tiny"]) == 1
    assert "another vocabulary" in capsys.readouterr().err
    ids = np.concatenate([b.input_ids.reshape(-1).numpy() for b in dvse.TokenDataset(
        folder / "short", batch_size=1, length=64, shuffle=False)])  # fmt: skip
    tables = [read_shard(path, ["ids"]) for path in find_shards(folder / "short")]
    whole = np.concatenate([pc.list_flatten(t["ids"]).to_numpy() for t in tables])
    assert ids[: len(whole)].tolist() == whole.tolist()


def test_words_are_cut_out_of_runs(folder, tmp_path):
    """Speech and text in turns: a stretch of time is found inside ids that are several units."""
    (tmp_path / "recipe.toml").write_text(
        '[rows.turns]\ninterleave = "word"\nalignments = "words.jsonl"\nturns = [1, 1]\n'
    )
    words = [{"word": w, "start": s, "end": s + 0.1} for w, s in (("do", 0), ("re", 0.43))]
    lines = [json.dumps({"id": f"{n:02d}.wav", "words": words}) for n in range(20)]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    found = {}
    for name, bundle in (("tokens", "tiny"), ("short", folder / "bundle")):
        output = tmp_path / name
        assert main(["compose", str(tmp_path / "recipe.toml"), str(folder / name),
                     "--bundle", str(bundle), "--output", str(output)]) == 0  # fmt: skip
        tokenizer = dvse.load(bundle)
        found[name] = {
            row["id"]: [
                s.text if s.modality == "text" else s.units[:, 0].tolist()
                for s in tokenizer.decode(row["ids"])
            ]
            for row in rows_of(output).values()
        }
    assert len(found["short"]) == 20 and found["short"] == found["tokens"]


def test_what_was_learnt_is_stated(folder):
    learnt = json.loads((folder / "bpe/runs.json").read_text())
    assert learnt["num_codes"] == 200 and len(learnt["runs"]) == 40
    figures = learnt["metrics"]
    assert figures["held_out"] == "every 50th recording, 2 in all"
    assert figures["codes_per_id"] > 1.4 and figures["round_trip_failures"] == 0
    about = learnt["provenance"]
    assert about["recordings"] == 58 and about["runs_before"] == 0
    section = dvse.load(folder / "bundle").sections["audio"]
    assert section.metrics["runs"] == figures and section.provenance["runs"] == about


def test_learning_on_keeps_the_runs_of_the_bundle(folder):
    recipe = RunRecipe(
        tokens=(folder / "short",), bundle=str(folder / "bundle"), num_runs=5, max_ids=400
    )
    learnt = train_runs(recipe, folder / "more")
    known = dvse.load(folder / "bundle").vocabulary.runs.runs
    assert learnt.runs[:40] == known and len(learnt.runs) == 45
    assert learnt.provenance["recordings"] < 58, "a draw of about so many ids"


def test_what_cannot_be_learnt_from_is_refused(folder, tmp_path):
    recipe = RunRecipe(tokens=(folder / "short",), bundle="tiny")
    with pytest.raises(ConfigError, match="was made with the bundle"):
        train_runs(recipe, tmp_path / "out")
    (tmp_path / "a.txt").write_text("only words")
    words = ["tokenize", str(tmp_path / "a.txt"), "--output", str(tmp_path / "text")]
    assert main([*words, "--workers", "0"]) == 0
    with pytest.raises(TrainingError, match=r"at least two recordings.*received 0"):
        train_runs(RunRecipe(tokens=(tmp_path / "text",), bundle="tiny"), tmp_path / "out")
    with pytest.raises(ConfigError, match="--max-ids"):
        RunRecipe(tokens=(tmp_path,), bundle="tiny", max_ids=0)
    assert not (tmp_path / "out").exists()
