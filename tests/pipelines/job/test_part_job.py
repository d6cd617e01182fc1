"""Parts of one job in one directory: together they are what one machine makes, byte for byte.

The judge is always a whole job of its own over the same inputs.
"""

import io
import json
import signal
import tarfile
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_step import FakeStep

from dvse.errors import ConfigError, JobError, ResumeError, TooManyErrorsError
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.missing_parts import missing_parts
from pipelines.job.open_journal import open_journal
from pipelines.job.part_job import PartJob
from pipelines.job.stop_request import StopRequest

SIZE = 5


def write_tar(path, keys):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for number, key in enumerate(keys):
            data = f"{path.name} {number}".encode()
            info = tarfile.TarInfo(f"{key}.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def inputs(tmp_path):
    """Files and containers whose names meet each other again and again."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(13):
        (folder / f"p{number:03d}.png").write_bytes(b"BAD" if number == 4 else b"p %d" % number)
    write_tar(folder / "q.tar", [f"{n:03d}" for n in range(9)])
    write_tar(folder / "r.tgz", [f"{n:03d}" for n in range(7)])
    lines = [{"id": f"{n % 3:03d}", "text": f"line {n}"} for n in range(8)]
    (folder / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "?\n")
    table = {"id": [f"{n:03d}#2" for n in range(6)], "text": [f"row {n}" for n in range(6)]}
    pq.write_table(pa.table(table), folder / "t.parquet", row_group_size=4)
    pq.write_table(pa.table({"text": [f"plain {n}" for n in range(4)]}), folder / "u.parquet")
    (folder / "z.xyz").write_text("?")
    again = str(folder / "p001.png")
    return [again, str(folder), again, str(tmp_path / "gone.png")]


def settings(inputs, output, **options):
    options = {"shard_size": SIZE} | options
    return JobConfig(inputs=inputs, output=output, **options)


def whole(inputs, output, **options):
    return Job(settings(inputs, output, **options), FakeStep(), InlineEngine()).run()


def part(text, inputs, output, *, stop=None, step=None, **options):
    config = settings(inputs, output, part=text, **options)
    return PartJob(config, step or FakeStep(), InlineEngine(), stop=stop).run()


def state(output):
    shards = {p.name: p.read_bytes() for p in sorted(output.glob("shard-*.parquet"))}
    summary = json.loads((output / "summary.json").read_text())
    for name in ("seconds", "work_seconds", "new_inputs", "repaired"):
        del summary[name]
    return shards, (output / "errors.jsonl").read_bytes(), summary


def ids(output):
    return [r for p in sorted(output.glob("*.parquet")) for r in pq.read_table(p)["id"].to_pylist()]


@pytest.fixture
def wanted(inputs, tmp_path):
    whole(inputs, tmp_path / "whole")
    found = ids(tmp_path / "whole")
    assert len(set(found)) == len(found)
    # The names do meet: without that the tests below would prove nothing about them.
    assert sum("#2" in name or "#3" in name for name in found) > 15
    return state(tmp_path / "whole")


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("is_backwards", [False, True])
def test_parts_one_after_another_are_the_whole(inputs, wanted, tmp_path, count, is_backwards):
    order = range(count, 0, -1) if is_backwards else range(1, count + 1)
    left = []
    for number in order:
        left.append(part(f"{number}/{count}", inputs, tmp_path / "out").num_missing)
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert state(tmp_path / "out") == wanted


def test_a_rerun_may_have_another_number_of_parts(inputs, wanted, tmp_path):
    out = tmp_path / "out"
    part("2/3", inputs, out)
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")}
    part("1/2", inputs, out)
    assert part("2/2", inputs, out).num_missing == 0
    assert state(out) == wanted
    # What was done is not done again.
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*")}.items()


def test_a_whole_job_goes_on_with_what_parts_began_and_parts_with_that(inputs, wanted, tmp_path):
    for first, then in (("1/2", None), (None, "1/2")):
        out = tmp_path / f"{first}-{then}".replace("/", "")
        if first:
            part(first, inputs, out)
            whole(inputs, out)
        else:
            whole(inputs, out)
            for number in (1, 2, 5, 6):
                open_journal(out).forget(number)
            assert part("1/2", inputs, out).num_missing == 2
            part("2/2", inputs, out)
        assert state(out) == wanted


def test_parts_at_the_same_time_make_one_plan_and_the_whole(inputs, wanted, tmp_path):
    out, found = tmp_path / "out", {}

    def run(number):
        found[number] = part(f"{number}/3", inputs, out)

    threads = [threading.Thread(target=run, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3]
    assert sum(summary.new_inputs for summary in found.values()) == wanted[2]["num_inputs"]
    assert state(out) == wanted


class Pausing(FakeStep):
    """Holds a part at its work until it is let go."""

    def open(self, device):
        ARRIVED.set()
        assert GO.wait(30)
        return super().open(device)


ARRIVED, GO = threading.Event(), threading.Event()


@pytest.fixture
def busy(inputs, tmp_path):
    """A directory in which part 1/2 is at work."""
    out = tmp_path / "out"
    part("2/2", inputs, out)
    ARRIVED.clear()
    GO.clear()
    thread = threading.Thread(target=part, args=("1/2", inputs, out), kwargs={"step": Pausing()})
    thread.start()
    assert ARRIVED.wait(30)
    yield out
    GO.set()
    thread.join()


def test_a_whole_job_is_kept_out_while_a_part_is_at_work(inputs, busy):
    with pytest.raises(JobError, match="another job is writing"):
        whole(inputs, busy)
    with pytest.raises(JobError, match="part 1/2 is at work there already"):
        part("1/2", inputs, busy)
    assert part("2/2", inputs, busy).new_inputs == 0
    # Another number of parts is nothing to be kept out for: the bytes are the same.
    assert part("1/3", inputs, busy).new_inputs > 0


def test_a_part_is_kept_out_while_a_whole_job_is_at_work(inputs, tmp_path):
    with (
        open_journal(tmp_path / "out").occupation.alone(),
        pytest.raises(JobError, match="is writing"),
    ):
        part("1/2", inputs, tmp_path / "out")


def test_who_joins_with_other_inputs_or_settings_is_refused(inputs, busy):
    with pytest.raises(ResumeError, match="inputs: "):
        part("1/3", inputs[:2], busy)
    with pytest.raises(ResumeError, match="shard_size: 5 before, 6 now"):
        part("1/3", inputs, busy, shard_size=6)
    with pytest.raises(ResumeError, match=r"bundle_fingerprint: f+ before, e+ now"):
        part("1/3", inputs, busy, step=FakeStep(bundle_fingerprint="e" * 64))
    with pytest.raises(ResumeError, match="threads: 1 before, 2 now"):
        part("1/3", inputs, busy, step=FakeStep(threads=2))


def test_the_same_relative_name_elsewhere_is_another_input(inputs, busy, tmp_path, monkeypatch):
    document = open_journal(busy).read_job()
    assert document["inputs_at"] == inputs
    monkeypatch.setattr("pipelines.job.beginning._places", lambda inputs: ["/elsewhere"])
    with pytest.raises(ResumeError, match="inputs_at: "):
        part("1/3", inputs, busy)


def test_changed_inputs_are_refused_and_taken_in_when_allowed(inputs, tmp_path):
    out, folder = tmp_path / "out", tmp_path / "in"
    part("1/2", inputs, out)
    (folder / "new.png").write_bytes(b"new")
    with pytest.raises(ResumeError, match="added: "):
        part("2/2", inputs, out)
    part("2/2", inputs, out, append=True)
    part("1/2", inputs, out, append=True)
    whole(inputs[:1] + inputs[1:], tmp_path / "whole")
    assert sorted(ids(out)) == sorted(ids(tmp_path / "whole"))
    # The same command without parts finds nothing left to do.
    assert whole(inputs, out).new_inputs == 0


def test_failed_inputs_are_tried_again_by_the_part_that_they_belong_to(inputs, tmp_path):
    out, folder = tmp_path / "out", tmp_path / "in"
    for number in (1, 2):
        part(f"{number}/2", inputs, out)
    (folder / "p004.png").write_bytes(b"p 4")
    assert part("1/2", inputs, out, retry_errors=True).num_errors == 3
    whole(inputs, tmp_path / "whole")
    assert state(out) == state(tmp_path / "whole")


def test_a_damaged_shard_is_made_again_under_its_names(inputs, wanted, tmp_path):
    out = tmp_path / "out"
    for number in (1, 2):
        part(f"{number}/2", inputs, out)
    for number in (3, 4, 5, 6, 7):
        (out / f"shard-{number:06d}.parquet").write_bytes(b"PAR1")
    for number in (2, 1):
        part(f"{number}/2", inputs, out)
    assert state(out) == wanted


def test_what_is_missing_is_said_with_the_part_it_belongs_to(inputs, tmp_path):
    out = tmp_path / "out"
    summary = part("2/3", inputs, out)
    journal = open_journal(out)
    total = summary.num_partitions + summary.num_missing
    lines = missing_parts(journal, journal.done(), SIZE)
    assert [line.split(" is")[0] for line in lines] == ["part 1/3", "part 3/3"]
    assert "it never began" in lines[0]
    assert f"shards 0-{total // 3 - 1};" in lines[0]
    part("1/3", inputs, out)
    part("3/3", inputs, out)
    assert missing_parts(journal, journal.done(), SIZE) == []
    journal.forget(0)
    assert "it was done when last heard of" in missing_parts(journal, journal.done(), SIZE)[0]


def test_a_part_that_is_asked_to_stop_stops_and_goes_on(inputs, wanted, tmp_path):
    out, stop = tmp_path / "out", StopRequest()
    stop._ask(signal.SIGTERM, None)
    assert part("1/2", inputs, out, stop=stop).stopped_by == "SIGTERM"
    for number in (1, 2):
        part(f"{number}/2", inputs, out)
    assert state(out) == wanted


def test_too_many_errors_of_a_part_end_it_and_are_written_down(inputs, tmp_path):
    with pytest.raises(TooManyErrorsError, match="1 of "):
        part("1/2", inputs, tmp_path / "out", max_error_rate=0.01)
    assert "p004.png" in (tmp_path / "out" / "errors.jsonl").read_text()


def test_streams_cannot_be_shared_out(tmp_path):
    (tmp_path / "x.csv").write_text("text\none\ntwo\n")
    stream = f"hf:csv?data_files={tmp_path / 'x.csv'}&streaming=true"
    with pytest.raises(ConfigError, match=r"leave out streaming=true"):
        part("1/2", [stream], tmp_path / "out")
    whole([stream], tmp_path / "out")
    # Read once, its length is known.
    assert part("1/2", [stream], tmp_path / "out").num_missing == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "1/2", "overwrite": True}, "--overwrite deletes what other parts have made"),
        ({"take_over_s": 60.0}, "expected --part beside it"),
        ({"part": "1/2", "take_over_s": 0.0}, "seconds above 0"),
        ({"part": "1/2", "take_over_s": float("nan")}, "seconds above 0"),
        ({"part": "3/2"}, "from 1 to 2"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        JobConfig(inputs=["x"], output=tmp_path, **options)


def test_less_patience_than_beats_of_a_part_take_is_refused(inputs, tmp_path):
    with pytest.raises(ConfigError, match="at least 3 seconds"):
        part("1/2", inputs, tmp_path / "out", take_over_s=1.0)
