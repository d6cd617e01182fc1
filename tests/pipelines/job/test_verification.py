"""`dvse verify` on shards of `tiny`: what is whole passes, what is not is named."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import dvse
from dvse.errors import ConfigError
from dvse.precision import check_precision
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import read_metadata, read_shard, write_shard
from pipelines.cli import main
from pipelines.engines.inline import InlineEngine
from pipelines.filtering.filters import read_filters
from pipelines.filtering.work import FilterWork
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.verification import verify
from pipelines.job.verification_settings import VerificationSettings
from pipelines.sources.registry import SourceOptions
from pipelines.steps.tokenize import TokenizeStep


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny", threads=1)


def tokenize(inputs, output, **options):
    config = JobConfig(inputs=[str(i) for i in inputs], output=output, shard_size=4, **options)
    return Job(config, TokenizeStep(bundle="tiny", threads=1), InlineEngine()).run()


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    from PIL import Image
    from scipy.io import wavfile

    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 255, (40, 30 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    wave = (rng.standard_normal(9000) * 3000).astype(np.int16)
    wavfile.write(folder / "w.wav", 8000, wave)
    (folder / "p1.txt").write_text("a caption", encoding="utf-8")
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def shards_once(media, tmp_path_factory):
    output = tmp_path_factory.mktemp("tokens") / "out"
    tokenize([media], output)
    return output


@pytest.fixture
def shards(shards_once, tmp_path):
    return shutil.copytree(shards_once, tmp_path / "tokens")


def rewrite(path, change):
    """Change rows and make the shard look untouched: hash in the marker, lengths in the footer."""
    table = read_shard(path)
    rows = table.to_pylist()
    change(rows)
    write_shard(path, rows, schema=table.schema, metadata=_strings(table.schema.metadata))
    marker = path.parent / ".job" / "done" / f"{int(path.stem[-6:]):06d}.json"
    document = json.loads(marker.read_text()) | {"sha256": file_sha256(path)}
    marker.write_text(json.dumps(document))


def _strings(metadata):
    return {k.decode(): v.decode() for k, v in metadata.items()}


def test_what_is_whole_passes(shards, tokenizer):
    found = verify(shards, tokenizer=tokenizer)
    assert found.problems == ()
    assert (found.num_shards, found.num_rows, found.num_sampled) == (2, 6, 6)
    assert found.num_differing == 0
    assert found.num_codes == found.num_ids


def test_a_flipped_bit_is_named_and_a_rerun_repairs_it(shards, media, tokenizer):
    path = shards / "shard-000001.parquet"
    before = path.read_bytes()
    data = bytearray(before)
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    found = verify(shards, tokenizer=tokenizer)
    assert len(found.problems) == 1
    assert "shard-000001.parquet: corrupt" in found.problems[0]
    tokenize([media], shards)
    assert path.read_bytes() == before
    assert verify(shards, tokenizer=tokenizer).problems == ()


def test_a_missing_shard_is_named(shards, tokenizer):
    (shards / "shard-000000.parquet").unlink()
    (problem,) = verify(shards, tokenizer=tokenizer).problems
    assert "shard-000000.parquet: missing" in problem


def test_each_changed_code_is_reported(shards, tokenizer):
    def change(rows):
        row = next(r for r in rows if r["modality"] == "image")
        first, num_codes = tokenizer.vocabulary.image_ids([0])[0], tokenizer.image.num_codes
        for at in (5, 9):
            row["ids"][at] = first + (row["ids"][at] - first + 1) % num_codes

    rewrite(shards / "shard-000000.parquet", change)
    found = verify(shards, tokenizer=tokenizer)
    assert (found.num_differing, len(found.problems)) == (2, 2)
    assert "position 5: <|image_" in found.problems[0]
    assert "p0.png" in found.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["ids"].pop(), "expected"),
        (lambda row: row["ids"].__setitem__(3, 65535), "expected ids in 0"),
        (lambda row: row["ids"].__setitem__(3, 7), "expected"),
        (lambda row: row.__setitem__("modality", "audio"), "no single audio"),
        (lambda row: row.__setitem__("loss_mask", [True]), "loss_mask has 1 values"),
        (lambda row: row.__setitem__("id", "p1.png"), "is taken already"),
    ],
)
def test_rows_that_are_no_streams_are_named(shards, tokenizer, change, message):
    def change_first_picture(rows):
        change(next(r for r in rows if r["modality"] == "image"))

    rewrite(shards / "shard-000000.parquet", change_first_picture)
    found = verify(shards, VerificationSettings(num_samples=0), tokenizer=tokenizer)
    assert any(message in p and "shard-000000.parquet" in p for p in found.problems), found.problems


def test_changed_inputs_are_told_from_changed_codes(shards, media, tokenizer, tmp_path):
    copy = shutil.copytree(media, tmp_path / "media")
    output = tmp_path / "out"
    tokenize([copy], output)
    (copy / "w.wav").write_bytes((copy / "w.wav").read_bytes()[:-2000])
    (copy / "p0.png").unlink()
    found = verify(output, tokenizer=tokenizer)
    assert (found.num_gone, found.num_differing, len(found.problems)) == (2, 0, 3)
    assert found.problems[0].startswith(f"changed: {copy / 'w.wav'} (")


def test_another_bundle_is_refused(shards, tokenizer):
    table = read_shard(shards / "shard-000000.parquet")
    metadata = _strings(table.schema.metadata) | {"dvse.bundle_fingerprint": "0" * 64}
    shutil.rmtree(shards / ".job")
    for path in shards.glob("*.parquet"):
        pq.write_table(table.cast(table.schema.with_metadata(metadata)), path)
    with pytest.raises(dvse.errors.ConfigError, match="was made by bundle 'tiny'"):
        verify(shards, tokenizer=tokenizer)


def test_shards_alone_are_checked_too(shards, tokenizer):
    shutil.rmtree(shards / ".job")
    found = verify(shards, tokenizer=tokenizer)
    assert (found.problems, found.num_rows, found.num_sampled) == ((), 6, 0)


def test_conversations_carry_a_loss_mask_on_their_answers(media, tmp_path, tokenizer):
    talk = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": str(media / "p0.png")}},
                    {"type": "text", "text": "What is it?"},
                ],
            },
            {"role": "assistant", "content": "Noise."},
        ]
    }
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk))
    tokenize([tmp_path / "talk.jsonl"], tmp_path / "out")
    (row,) = read_shard(tmp_path / "out" / "shard-000000.parquet").to_pylist()
    answer = [i for i, m in zip(row["ids"], row["loss_mask"], strict=True) if m]
    end = tokenizer.vocabulary.special_id("<|endoftext|>")
    assert answer == [*tokenizer.text.encode("Noise.").tolist(), end]
    assert verify(tmp_path / "out", tokenizer=tokenizer).problems == ()
    (batch,) = dvse.TokenDataset(tmp_path / "out", batch_size=1, length=2048)
    assert batch.loss_mask.sum() == len(answer)


def test_samples_of_a_template_are_read_again_the_same_way(media, tmp_path, tokenizer):
    options = SourceOptions(template="{image}Say: {txt}")
    summary = tokenize([media], tmp_path / "out", source_options=options)
    assert summary.num_rows == 1
    found = verify(tmp_path / "out", tokenizer=tokenizer)
    assert (found.problems, found.num_sampled) == ((), 1)


def test_ids_of_a_row_are_those_of_the_front_door(shards, media, tokenizer):
    rows = {r["id"]: r for p in sorted(shards.glob("*.parquet")) for r in read_shard(p).to_pylist()}
    alone = tokenizer.encode(dvse.Audio(media / "w.wav"))
    assert rows["w.wav"]["ids"] == alone.ids.tolist()
    assert rows["w.wav"]["duration_s"] == pytest.approx(9000 / 8000)
    assert rows["p1.png"]["text"] == "a caption"
    assert rows["p0.png"]["ids"] == tokenizer.encode(dvse.Image(media / "p0.png")).ids.tolist()
    assert pa.types.is_uint16(read_shard(shards / "shard-000000.parquet")["ids"].type.value_type)


def test_refused_inputs_are_counted_and_their_lines_may_not_be_lost(media, tokenizer, tmp_path):
    out, path = tmp_path / "out", tmp_path / "filters.toml"
    path.write_text("[resolution]\nleast_side = 32\n[length]\nleast = 5\n")
    filters = FilterWork(read_filters(path))
    config = JobConfig(inputs=[str(media)], output=out, shard_size=4)
    step = TokenizeStep(bundle="tiny", threads=1, gate=filters.gate)
    summary = Job(config, step, InlineEngine(), filters=filters).run()
    # Pictures of 30 and 31 pixels; the caption has 4 ids.
    assert summary.by_filter == {"resolution": 2, "length": 1}
    found = verify(out, tokenizer=tokenizer)
    assert (found.problems, found.num_filtered) == ((), 3)
    assert "3 inputs refused by filters" in found.table()
    part = out / ".job" / "errors" / "000000.jsonl"
    part.write_text(part.read_text().replace("resolution", "taste", 1))
    (problem,) = verify(out, tokenizer=tokenizer).problems
    assert f"lines of inputs without a row {part.name}: corrupt" in problem


def test_what_was_refused_is_shown_with_pictures_and_players(media, tmp_path, capsys):
    from pipelines.cli import main

    path, page = tmp_path / "filters.toml", tmp_path / "page.html"
    path.write_text("[resolution]\nleast_side = 32\n[loudness]\nleast_dbfs = -1.0\n")
    args = [str(media), "--output", str(tmp_path / "out"), "--filter", str(path), "--quiet"]
    assert main(["tokenize", *args, "--workers", "1", "--threads", "1"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out"), "--filtered", "--html", str(page)]) == 0
    html = page.read_text()
    assert html.count('src="data:image/png') == 3  # two pictures and a waveform
    assert html.count('src="data:audio/wav') == 1
    assert "3 inputs refused by filters" in html
    assert "a shorter side of 30 pixels, at least 32 pixels wanted" in html
    assert "a caption" in html
    assert main(["inspect", str(tmp_path / "out"), "--filtered", "--id", "p9.png"]) == 1
    assert "'p9.png'" in capsys.readouterr().err


def test_a_precision_is_recorded_refused_when_another_is_asked_for_and_held_against_float32(
    media, tmp_path, capsys
):
    try:
        check_precision("bfloat16", "cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    output = tmp_path / "tokens"
    words = ["tokenize", str(media), "--output", str(output), "--quiet", "--workers", "0"]
    words += ["--threads", "1"]
    assert main([*words, "--precision", "bfloat16"]) == 0
    first = next(iter(sorted(output.glob("*.parquet"))))
    assert read_metadata(first).profile["precision"] == "bfloat16"
    capsys.readouterr()
    assert main(words) == 4
    assert "precision: bfloat16 before, float32 now" in capsys.readouterr().err
    assert main([*words, "--precision", "bfloat16"]) == 0
    capsys.readouterr()
    assert main(["verify", str(output), "--against-precision", "float32"]) == 0
    text = capsys.readouterr().out
    assert "0 of" in text and "all well" in text
    exact = dvse.load("tiny", threads=1)
    rounded = dvse.load("tiny", threads=1, precision="bfloat16")
    for modality, pattern in (("image", "p*.png"), ("audio", "w.wav")):
        kept = total = 0
        for path in sorted(media.glob(pattern)):
            item = getattr(dvse, modality.title())(path)
            a, b = exact.encode(item).ids[1:-1], rounded.encode(item).ids[1:-1]
            codes = slice(2, None) if modality == "image" else slice(None)  # behind the grid
            kept, total = kept + int((a[codes] == b[codes]).sum()), total + len(a[codes])
        line = f"against float32: {100 * kept / total:.2f} % of {total:,} {modality} codes stay"
        assert line in text
        assert 0.5 < kept / total


def test_a_token_budget_is_recorded_refused_when_another_is_asked_for_and_taken_by_verify(
    media, tmp_path, capsys
):
    output, plain = tmp_path / "tokens", tmp_path / "plain"
    words = ["--quiet", "--workers", "0", "--threads", "1"]
    command = ["tokenize", str(media), *words, "--output", str(output)]
    assert main([*command, "--batch-tokens", "512"]) == 0
    first = next(iter(sorted(output.glob("*.parquet"))))
    assert read_metadata(first).profile["batch_tokens"] == 512
    capsys.readouterr()
    assert main(command) == 4
    assert "batch_tokens: 512 before, missing now" in capsys.readouterr().err
    first.unlink()  # something is left to do, so that an encoder is loaded
    assert main([*command, "--batch-tokens", "1024"]) == 4
    assert "batch_tokens: 512 before, 1024 now" in capsys.readouterr().err
    assert main([*command, "--batch-tokens", "512"]) == 0
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        load = dvse.tokenizer.load
        patch.setattr("dvse.tokenizer.load", lambda *a, **k: taken.append(k) or load(*a, **k))
        assert main(["verify", str(output)]) == 0
    assert [how["batch_tokens"] for how in taken] == [512]
    assert "all well" in capsys.readouterr().out
    assert main(["tokenize", str(media), *words, "--output", str(plain)]) == 0
    assert "batch_tokens" not in read_metadata(plain / first.name).profile
    assert "batch_tokens" not in next(plain.rglob("job.json")).read_text()


@pytest.mark.parametrize(
    ("value", "words"),
    [("0", "--batch-tokens: expected at least 1, received 0"), ("1", "expected batch_tokens of")],
)
def test_a_budget_that_holds_nothing_writes_no_shard(media, tmp_path, capsys, value, words):
    output = tmp_path / "tokens"
    command = ["tokenize", str(media), "--output", str(output), "--quiet", "--workers", "0"]
    assert main([*command, "--batch-tokens", value]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet")) and not list(tmp_path.rglob("job.json"))


def test_a_job_of_before_goes_on_though_its_profile_has_another_name_for_precision(media, tmp_path):
    output = tmp_path / "tokens"
    tokenize([media], output)
    found = next(output.rglob("job.json"))
    document = json.loads(found.read_text())
    document["profile"]["dtype"] = document["profile"].pop("precision")
    found.write_text(json.dumps(document))
    (output / "shard-000000.parquet").unlink()  # something is left to do
    tokenize([media], output)
    assert (output / "shard-000000.parquet").exists()


def test_a_precision_that_the_processor_does_not_have_writes_nothing(media, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    words = ["tokenize", str(media), "--output", str(tmp_path / "tokens")]
    for precision in ("bfloat16", "tf32"):
        assert main([*words, "--precision", precision]) == 2
    assert not (tmp_path / "tokens").exists()


def test_a_bundle_that_is_not_there_makes_no_folder(media, tmp_path, capsys):
    for number, (place, words) in enumerate(
        (("nowhere", "no bundle 'nowhere'"), (str(tmp_path), "no bundle"))
    ):
        output = tmp_path / f"tokens{number}"
        command = ["tokenize", str(media), "--output", str(output), "--quiet", "--workers", "0"]
        assert main([*command, "--bundle", place]) == 1
        assert words in capsys.readouterr().err
        assert not output.exists()


def test_a_shard_that_rotted_untouched_is_trusted_until_verify_finds_it(tmp_path):
    """A disk that flips a bit changes neither size nor time."""
    media = tmp_path / "in"
    media.mkdir()
    for number in range(6):
        (media / f"{number}.txt").write_text(f"text {number}")
    out = tmp_path / "out"

    def run():
        return Job(
            JobConfig(inputs=[str(media)], output=out, shard_size=2),
            TokenizeStep(bundle="tiny", threads=1),
            InlineEngine(),
        ).run()

    run()
    path = out / "shard-000001.parquet"
    good, stamp = path.read_bytes(), path.stat()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    path.write_bytes(bad)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert run().repaired == ()
    assert any(
        "shard-000001.parquet: corrupt" in p
        for p in verify(out, VerificationSettings(num_samples=0)).problems
    )
    assert run().repaired == (1,)
    assert path.read_bytes() == good


def test_of_many_shards_some_are_looked_at_and_all_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.job.verification._MOST_SHARDS", 3)
    media = tmp_path / "in"
    media.mkdir()
    for number in range(5):
        (media / f"{number}.txt").write_text(f"text {number}")
    config = JobConfig(inputs=[str(media)], output=tmp_path / "out", shard_size=1)
    Job(config, TokenizeStep(bundle="tiny", threads=1), InlineEngine()).run()
    found = verify(tmp_path / "out", VerificationSettings(num_samples=0))
    assert (found.num_shards, found.num_left_out, found.problems) == (3, 2, ())
    assert "3 shards (2 more with --deep)" in found.table()
    found = verify(tmp_path / "out", VerificationSettings(num_samples=0, is_deep=True))
    assert (found.num_shards, found.num_left_out) == (5, 0)
