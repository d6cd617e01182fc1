"""Data sets of which not one input gave a row: a failure of a whole, which one line hides."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.job.plan import read_listing
from pipelines.sources.entry import FAILURE, GAPS, SINGLES
from pipelines.sources.record import utf8_name

_NO_DATA_SET = SINGLES | GAPS | {FAILURE}


def fruitless_data_sets(
    listing: Path, failed: Iterable[int], stream_lengths: Mapping[int, int]
) -> list[str]:
    """Return the containers, addresses and folders that would not open or whose inputs all failed.

    Args:
        listing: of the job.
        failed: numbers of the inputs that failed, rising.
        stream_lengths: position in the listing → inputs, for streams.
    """
    numbers = iter(failed)
    number = next(numbers, None)
    inputs: dict[str, int] = {}
    failures: dict[str, int] = {}
    first = 0
    for position, entry in enumerate(read_listing(listing)):
        length = stream_lengths.get(position, 0) if entry.count is None else entry.count
        num_failed = 0
        while number is not None and number < first + length:
            num_failed += 1
            number = next(numbers, None)
        first += length
        if entry.kind not in _NO_DATA_SET:
            inputs[entry.path] = inputs.get(entry.path, 0) + length
            failures[entry.path] = failures.get(entry.path, 0) + num_failed
    return [utf8_name(path) for path, count in inputs.items() if 0 < count == failures[path]]
