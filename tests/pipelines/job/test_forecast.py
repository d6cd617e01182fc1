"""`dvse plan`: measured on steps whose times are known, and multiplied by hand."""

import time
from dataclasses import dataclass

import pytest
from fake_step import FakeStep, FakeWork

from pipelines.cli import main
from pipelines.job.forecast import Forecast, Hardware, Measured, forecast
from pipelines.job.plan import ListingSummary
from pipelines.sources.registry import SourceOptions


def made(*, decode_s=0.010, encode_s=0.002, hardware, total=1_000_000, shard_size=1000):
    """A sample of 100 inputs of which each takes so long."""
    return Forecast(
        listing=ListingSummary(
            sha256="",
            num_known=total,
            streams=(),
            by_kind={"image": total},
            num_bytes=total * 9000,
            left_out={},
        ),
        hardware=hardware,
        shard_size=shard_size,
        measured=Measured(
            decode_s=[decode_s] * 100,
            encode_s=encode_s * 100,
            num_failed=0,
            num_ids=6400,
            num_bytes=20_000,
        ),
    )


def test_where_decoders_are_few_they_decide_and_are_what_to_buy():
    told = made(hardware=Hardware(device="cuda", num_devices=4, num_workers=8))
    # 1e6 x 10 ms / 8 = 1250 s of decoding beside 1e6 x 2 ms / 4 = 500 s of encoding.
    assert told.wall_s == pytest.approx(1250)
    # A card takes what five decoders give: 20 for four cards.
    assert told.advice() == (
        "more decoders: the cards would be busy 40% of the time; 20 decode processes keep 4 of "
        "them busy"
    )
    assert "1.39, of them encoding 0.56" in told.table()  # 4 x 1250 s, 2000 s
    assert "2.78 processor-hours" in told.table()


def test_where_cards_are_few_they_decide_and_are_what_to_buy():
    told = made(hardware=Hardware(device="cuda", num_devices=4, num_workers=64))
    assert told.wall_s == pytest.approx(500)
    assert told.advice() == "more cards: 20 of 64 decode processes keep these busy"


def test_on_processors_both_share_the_time():
    told = made(hardware=Hardware(device="cpu", num_devices=10, num_workers=4))
    # (2000 s + 10000 s / 4) / 10 machines
    assert told.wall_s == pytest.approx(450)
    assert told.advice().startswith("decoding is 56% of the time: more processors help")
    assert "--part I/10" in told.table()


def test_shards_bytes_and_requests_are_those_of_all_inputs():
    told = made(hardware=Hardware(device="cuda", num_devices=1, num_workers=1), total=10**9)
    assert told.num_requests == {"list": 10**6, "read": 10**9, "write": 3 * 10**6}
    table = told.table()
    assert "1,000,000 of 1,000 inputs, about 64,000,000,000 ids, 200.0 GB" in table
    assert "--shard-size 10000" in table
    assert "1,000,000,000 inputs, 9.0 TB" in table


@dataclass(frozen=True, kw_only=True)
class Slow(FakeStep):
    def open(self, device):
        return SlowWork(self, device)


class SlowWork(FakeWork):
    def encode(self, chunks):
        time.sleep(0.004 * len(chunks))
        return super().encode(chunks)


class Clock:
    """A clock that moves when somebody sleeps: a busy machine takes as long as an idle one."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_sample_is_measured_as_it_is(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    for number in range(40):
        data = b"BAD" if number % 10 == 0 else b"SLEEP 0.02 %d" % number
        (tmp_path / f"p{number:02d}.png").write_bytes(data)
    told = forecast(
        [str(tmp_path)],
        SourceOptions(),
        Slow(),
        Hardware(device="cuda", num_devices=1, num_workers=1),
        shard_size=10,
        num_samples=20,
    )
    m = told.measured
    # Every second one is tried: 0, 10, 20 and 30 of them say BAD.
    assert (len(m.decode_s), m.num_failed) == (20, 4)
    assert told.decode_s == pytest.approx(32 * 0.02)
    assert told.encode_s == pytest.approx(32 * 0.004)
    assert told.spread > 0.1
    assert told.advice().startswith("more decoders")


def test_the_command(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["plan", str(tmp_path / "in" / "*.png")]) == 0  # one input: the pattern, in vain
    (tmp_path / "in" / "a.txt").write_text("hello")
    assert main(["plan", str(tmp_path / "in"), "--devices", "3xcpu", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "1 inputs" in printed
    assert "with 3 x cpu and 2 decode processes on each" in printed
    assert main(["plan", "x", "--devices", "tpu"]) == 2
    assert main(["plan", "x", "--samples", "0"]) == 2
