"""Filters in a job: lines for what is refused, the first in order wins, the same bytes always."""

import io
import json

import numpy as np
import pytest
import soundfile
from fake_step import FakeStep

from dvse.errors import ConfigError, ResumeError
from dvse.storage.shard import read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.filtering.filters import read_filters
from pipelines.filtering.gate import GatedPreparer
from pipelines.filtering.work import FilterWork
from pipelines.job.config import JobConfig
from pipelines.job.estimate import estimate
from pipelines.job.job import Job
from pipelines.job.part_job import PartJob
from pipelines.sources.registry import SourceOptions

FILE = """
[loudness]
least_dbfs = -60.0
[length]
least = 8
[exact_duplicates]
"""


def wav(level):
    file = io.BytesIO()
    samples = level * np.sin(np.arange(4000) / 3)
    soundfile.write(file, samples, 8000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(24):
        (folder / f"p{number:03d}.png").write_bytes(b"picture %d" % (number % 9))
    (folder / "p005.png").write_bytes(b"BAD")
    (folder / "q1.wav").write_bytes(wav(0.5))
    (folder / "q2.wav").write_bytes(wav(0.0))
    (folder / "q3.wav").write_bytes(b"no sound")
    (folder / "r.txt").write_text("short")
    return folder


def filters(folder, text=FILE):
    path = folder.parent / "filters.toml"
    path.write_text(text)
    return FilterWork(read_filters(path))


class GatedStep(FakeStep):
    """The fake step behind a gate."""

    gate = None

    def open(self, device):
        work, gate = super().open(device), self.gate
        if gate is not None:
            plain = work.describe
            work.describe = lambda: _gated(plain(), gate)
        return work


def _gated(description, gate):
    from dataclasses import replace

    preparer = GatedPreparer(preparer=description.preparer, gate=gate)
    return replace(description, preparer=preparer)


def run(folder, output, *, work=None, engine=None, job=Job, **options):
    work = work or filters(folder)
    step = GatedStep()
    object.__setattr__(step, "gate", work.gate)
    config = JobConfig(inputs=[str(folder)], output=output, **{"shard_size": 5} | options)
    return job(config, step, engine or InlineEngine(), filters=work).run()


def shards(output):
    return {p.name: p.read_bytes() for p in sorted(output.glob("*.parquet"))}


def rows(output):
    return [r for p in sorted(output.glob("*.parquet")) for r in read_shard(p).to_pylist()]


def errors(output):
    return [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]


def filtered(output):
    return [json.loads(line) for line in (output / "filtered.jsonl").read_text().splitlines()]


def everything(output):
    names = ("errors.jsonl", "filtered.jsonl")
    return shards(output), *((output / name).read_bytes() for name in names)


def test_inputs_are_rows_errors_and_filtered_ones(inputs, tmp_path):
    out = tmp_path / "out"
    summary = run(inputs, out)
    assert summary.num_inputs == 28
    assert summary.num_inputs == summary.num_rows + summary.num_errors + summary.num_filtered
    # 24 pictures of 9 contents, but number 5, the only one of its kind before 14, is broken.
    assert summary.by_filter == {"loudness": 1, "length": 1, "exact_duplicates": 14}
    assert (summary.num_rows, summary.num_errors) == (10, 2)
    assert [e["id"] for e in errors(out)] == ["p005.png", "q3.wav"]
    lines = {line["id"]: line for line in filtered(out)}
    assert len(lines) == summary.num_filtered
    assert {line["id"] for line in rows(out)}.isdisjoint(lines)
    assert lines["p009.png"]["reason"] == "the same bytes as p000.png"
    assert lines["p023.png"]["reason"] == "the same bytes as p014.png"
    quiet = lines["q2.wav"]
    assert (quiet["filter"], quiet["score"], quiet["modality"]) == ("loudness", -120.0, "audio")
    assert (quiet["num_ids"], quiet["source"]) == (None, str(inputs / "q2.wav"))
    assert lines["r.txt"]["num_ids"] == 5
    assert lines["r.txt"]["reason"] == "a length of 5 ids, at least 8 ids wanted"
    shown = summary.table()
    assert "1 loudness, 1 length, 14 exact_duplicates (see filtered.jsonl)" in shown
    assert json.loads((out / "summary.json").read_text())["num_filtered"] == 16


def test_the_same_bytes_whatever_the_workers(inputs, tmp_path):
    made = {}
    for name, engine in {
        "inline": InlineEngine(max_chunks=3),
        "one": LocalEngine(num_workers=1),
        "three": LocalEngine(num_workers=3, max_chunks=2, devices=("cpu", "cpu")),
    }.items():
        run(inputs, tmp_path / name, engine=engine, shard_size=3)
        made[name] = everything(tmp_path / name)
    assert made["inline"] == made["one"] == made["three"]


@pytest.mark.parametrize("lost", ["shard-000002.parquet", ".job/errors/000003.jsonl"])
def test_what_is_lost_is_made_again_as_it_was(inputs, tmp_path, lost):
    out = tmp_path / "out"
    run(inputs, out)
    before = everything(out)
    (out / lost).unlink()
    summary = run(inputs, out)
    assert (summary.new_inputs, len(summary.repaired)) == (5, 1)
    assert everything(out) == before
    assert run(inputs, out).new_inputs == 0


def test_a_job_that_is_stopped_goes_on_with_what_was_remembered(inputs, tmp_path):
    run(inputs, tmp_path / "whole")
    out = tmp_path / "out"
    run(inputs, out)
    for number in (3, 4, 5):
        (out / ".job" / "done" / f"{number:06d}.json").unlink()
        (out / f"shard-{number:06d}.parquet").unlink()
    run(inputs, out)
    assert everything(out) == everything(tmp_path / "whole")


def test_another_file_of_filters_is_another_job(inputs, tmp_path):
    run(inputs, tmp_path / "out")
    with pytest.raises(ResumeError, match="filters"):
        run(inputs, tmp_path / "out", work=filters(inputs, "[length]\nleast = 9\n"))
    with pytest.raises(ResumeError, match="filters"):
        run(inputs, tmp_path / "out", work=FilterWork())


def test_an_input_that_is_mended_is_the_first_of_its_kind_again(inputs, tmp_path):
    out = tmp_path / "out"
    run(inputs, out)
    assert "p014.png" in {line["id"] for line in rows(out)}
    (inputs / "p005.png").write_bytes(b"picture 5")
    run(inputs, out, retry_errors=True)
    assert {line["id"]: line for line in filtered(out)}["p014.png"]["reason"].endswith("p005.png")
    run(inputs, tmp_path / "fresh")
    assert everything(out) == everything(tmp_path / "fresh")


def test_a_refused_input_that_changes_is_judged_again(inputs, tmp_path):
    out = tmp_path / "out"
    run(inputs, out)
    (inputs / "q2.wav").write_bytes(wav(0.3))
    (inputs / "p009.png").write_bytes(b"something new")
    with pytest.raises(ResumeError, match="changed"):
        run(inputs, out)
    run(inputs, out, redo_changed=True)
    assert {"q2.wav", "p009.png"} <= {line["id"] for line in rows(out)}
    run(inputs, tmp_path / "fresh")
    assert everything(out) == everything(tmp_path / "fresh")


def test_appended_inputs_are_compared_with_all_before(inputs, tmp_path):
    out = tmp_path / "out"
    run(inputs, out)
    (inputs / "z.png").write_bytes(b"picture 3")
    run(inputs, out, append=True)
    assert filtered(out)[-1]["reason"] == "the same bytes as p003.png"


def test_parts_take_filters_that_remember_nothing(inputs, tmp_path):
    text = "[loudness]\nleast_dbfs = -60.0\n[length]\nleast = 8\n"
    run(inputs, tmp_path / "whole", work=filters(inputs, text))
    for part in ("1/2", "2/2"):
        run(inputs, tmp_path / "out", work=filters(inputs, text), job=PartJob, part=part)
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    with pytest.raises(ConfigError, match="run dvse filter on the finished shards"):
        run(inputs, tmp_path / "other", job=PartJob, part="1/2")


def test_near_duplicate_pictures_are_remembered_across_runs(tmp_path):
    pytest.importorskip("imagehash")
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)) for _ in range(3)]
    for number in range(9):
        side = 64 + 16 * (number // 3)
        small[number % 3].resize((side, side), 3).save(folder / f"p{number}.png")
    text = "[near_duplicate_pictures]\nmost_bits = 6\n"
    run(folder, tmp_path / "whole", work=filters(folder, text), shard_size=2)
    assert [row["id"] for row in rows(tmp_path / "whole")] == ["p0.png", "p1.png", "p2.png"]
    out = tmp_path / "out"
    run(folder, out, work=filters(folder, text), shard_size=2)
    for number in (2, 3, 4):
        (out / ".job" / "done" / f"{number:06d}.json").unlink()
    run(folder, out, work=filters(folder, text), shard_size=2)
    assert everything(out) == everything(tmp_path / "whole")


def test_a_dry_run_tells_what_filters_on_media_refuse(inputs, tmp_path):
    work = filters(inputs, "[loudness]\nleast_dbfs = -60.0\n")
    step = GatedStep()
    object.__setattr__(step, "gate", work.gate)
    found = estimate(
        [str(inputs / "q1.wav"), str(inputs / "q2.wav")],
        SourceOptions(),
        step,
        InlineEngine(),
        shard_size=10,
    )
    assert (found.num_sampled, found.num_refused, found.num_failed) == (2, 1, 0)
    assert "refused 1 of the sample" in found.table()
