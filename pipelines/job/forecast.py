"""What a large job would take: time, device-hours, shards, bytes, requests, and what limits it.

A few inputs, spread over all, are decoded in this process and encoded on one device, each measured
by itself; the rest is multiplication. So it is a guess, and its spread is told.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvse.storage.shard import write_shard
from pipelines.engines.preparing import pieces
from pipelines.engines.window import Assembly, Piece
from pipelines.job.plan import ListingSummary
from pipelines.job.sample import sample_of
from pipelines.job.summary import duration
from pipelines.sources.entry import SINGLES
from pipelines.sources.record import Failure, Record
from pipelines.sources.registry import SourceOptions
from pipelines.steps.step import DeviceWork, Step

_NAMES_A_LISTING, _BYTES_A_READ, _WRITES_A_SHARD = 1000, 8 << 20, 3
_MANY_SHARDS = 100_000


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the job is to run on.

    Attributes:
        device: `cpu` or `cuda`, or one of several as `cuda:1`; measured here.
        num_devices: so many of them; of `cpu`, machines like this one.
        num_workers: decode processes over all; with `cpu`, on each machine.
    """

    device: str
    num_devices: int
    num_workers: int

    @property
    def is_cpu(self) -> bool:
        """Whether encoders and decoders share processors."""
        return self.device == "cpu"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a sample took.

    Attributes:
        decode_s: seconds of each input on one processor; failed ones too.
        encode_s: seconds of all of them together on one device, after a first round.
        num_failed: of them, those that gave no row.
        num_ids: in the rows of the sample.
        num_bytes: of a shard of them.
    """

    decode_s: Sequence[float]
    encode_s: float
    num_failed: int
    num_ids: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The sample, multiplied.

    Attributes:
        listing: the inputs.
        hardware: what it is to run on.
        shard_size: inputs a shard.
        measured: of the sample.
    """

    listing: ListingSummary
    hardware: Hardware
    shard_size: int
    measured: Measured

    @property
    def num_shards(self) -> int:
        """Shards, streams not counted."""
        return -(-self.listing.num_known // self.shard_size)

    @property
    def decode_s(self) -> float:
        """Seconds of one processor for all inputs."""
        return statistics.fmean(self.measured.decode_s) * self.listing.num_known

    @property
    def encode_s(self) -> float:
        """Seconds of one device for all inputs."""
        return self.measured.encode_s / len(self.measured.decode_s) * self.listing.num_known

    @property
    def spread(self) -> float:
        """Two standard errors of the mean decoding time, as a share of it."""
        times = self.measured.decode_s
        if len(times) < 2 or not (mean := statistics.fmean(times)):
            return 0.0
        return 2 * statistics.stdev(times) / math.sqrt(len(times)) / mean

    @property
    def wall_s(self) -> float:
        """Seconds from the first input to the last shard, start-up not counted."""
        h = self.hardware
        if h.is_cpu:
            return (self.encode_s + self.decode_s / h.num_workers) / h.num_devices
        return max(self.encode_s / h.num_devices, self.decode_s / h.num_workers)

    @property
    def num_requests(self) -> dict[str, int]:
        """Requests where inputs and shards lie in an object store."""
        singles = sum(n for kind, n in self.listing.by_kind.items() if kind in SINGLES)
        ranges = self.listing.num_bytes // _BYTES_A_READ if singles < self.listing.num_known else 0
        return {
            "list": -(-singles // _NAMES_A_LISTING),
            "read": singles + ranges,
            "write": self.num_shards * _WRITES_A_SHARD,
        }

    def advice(self) -> str:
        """Return what there should be more of."""
        h = self.hardware
        if h.is_cpu:
            share = self.encode_s / max(self.encode_s + self.decode_s / h.num_workers, 1e-9)
            what = "encoding" if share >= 0.5 else "decoding"
            more = "a card would take it over" if share >= 0.5 else "more processors help"
            return f"{what} is {max(share, 1 - share):.0%} of the time: {more}, or more machines"
        needed = math.ceil(self.decode_s / max(self.encode_s, 1e-9) * h.num_devices)
        if needed > h.num_workers:
            busy = self.encode_s / h.num_devices / max(self.wall_s, 1e-9)
            return (
                f"more decoders: the cards would be busy {busy:.0%} of the time; {needed:,} decode "
                f"processes keep {h.num_devices:,} of them busy"
            )
        return f"more cards: {needed:,} of {h.num_workers:,} decode processes keep these busy"

    def table(self) -> str:
        """Return it as lines for people."""
        h, m, total = self.hardware, self.measured, self.listing.num_known
        count = len(m.decode_s)
        scale = total / count
        lines = [
            f"{total:,} inputs, {_bytes(self.listing.num_bytes)}"
            + (f", {len(self.listing.streams)} streams not counted" * bool(self.listing.streams)),
            f"a sample of {count:,}: {1e3 * statistics.fmean(m.decode_s):,.1f} ms of a processor "
            f"to decode (± {self.spread:.0%}), {1e3 * m.encode_s / count:,.1f} ms of {h.device} "
            f"to encode, {m.num_failed} failed",
            f"{'time':14}{duration(self.wall_s)} with {h.num_devices:,} x {h.device} and "
            f"{h.num_workers:,} decode processes{' on each' if h.is_cpu else ''}",
            f"{'device-hours':14}{self.wall_s * h.num_devices / 3600:,.2f}, of them encoding "
            f"{self.encode_s / 3600:,.2f}",
            f"{'decoding':14}{self.decode_s / 3600:,.2f} processor-hours",
            f"{'shards':14}{self.num_shards:,} of {self.shard_size:,} inputs, about "
            f"{m.num_ids * scale:,.0f} ids, {_bytes(m.num_bytes * scale)}",
            f"{'requests':14}"
            + ", ".join(f"{n:,} {kind}" for kind, n in self.num_requests.items())
            + " (in an object store)",
            f"{'buy':14}{self.advice()}",
        ]
        if self.num_shards > _MANY_SHARDS:
            size = 10 ** math.ceil(math.log10(total / _MANY_SHARDS))
            lines.append(f"{'shard size':14}--shard-size {size:,.0f}".replace(",", ""))
        if h.is_cpu and h.num_devices > 1:
            lines.append(f"{'parts':14}--part I/{h.num_devices}")
        return "\n".join(lines)


def forecast(
    inputs: Sequence[str],
    options: SourceOptions,
    step: Step,
    hardware: Hardware,
    *,
    shard_size: int,
    num_samples: int = 64,
) -> Forecast | None:
    """Measure a sample and say what all inputs would take; `None` where there are none.

    Args:
        inputs: what the user typed.
        options: for the sources.
        step: what is done.
        hardware: on which.
        shard_size: inputs a shard.
        num_samples: inputs to try, spread over all.

    Raises:
        DvseError: the step cannot be opened.
    """
    sample = sample_of(inputs, options, num_samples=num_samples)
    if not sample.records:
        return None
    with TemporaryDirectory() as folder:
        shard = Path(folder) / "shard.parquet"
        measured = _measured(step, hardware.device, sample.records, shard)
    return Forecast(
        listing=sample.listing, hardware=hardware, shard_size=shard_size, measured=measured
    )


def _measured(step: Step, device: str, records: Sequence[Record], shard: Path) -> Measured:
    work = step.open(device)
    description = work.describe()
    decode_s: list[float] = []
    held: list[Piece] = []
    for key, record in [(-1, records[0]), *enumerate(records)]:  # the first one warms up
        began = time.perf_counter()
        found: list[Piece | Failure] = [Failure(stage="list", type="", reason="")]
        if record.failure is None:
            found = list(pieces(description.preparer, record, key))
        if key < 0:
            continue
        decode_s.append(time.perf_counter() - began)
        if not isinstance(found[-1], Failure):
            held += [piece for piece in found if isinstance(piece, Piece)]
    _encoded(work, held)  # the first round warms up
    began = time.perf_counter()
    rows = _encoded(work, held)
    encode_s = time.perf_counter() - began
    write_shard(shard, rows, schema=description.schema, metadata=description.metadata)
    return Measured(
        decode_s=decode_s,
        encode_s=encode_s,
        num_failed=len(records) - len(rows),
        num_ids=sum(len(row.get("ids", ())) for row in rows),
        num_bytes=shard.stat().st_size,
    )


def _encoded(work: DeviceWork, held: Sequence[Piece]) -> list[dict[str, Any]]:
    return [row for _, row in Assembly(work).run(held).rows] if held else []


def _bytes(count: float) -> str:
    """Return a size for people.

    >>> _bytes(1_500), _bytes(2.5e12)
    ('1.5 kB', '2.5 TB')
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
