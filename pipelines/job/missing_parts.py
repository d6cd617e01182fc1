"""Which partitions of a job are not made, and whose they are where parts of it are at work."""

from collections.abc import Collection, Iterator
from itertools import groupby

from pipelines.job.beats import beats
from pipelines.job.journal import Journal
from pipelines.job.numbering import Numbering
from pipelines.job.part import Part


def missing_parts(journal: Journal, done: Collection[int], size: int) -> list[str]:
    """Return a sentence for each part that has something left to do, or for all of the job.

    Args:
        journal: of the job.
        done: finished partitions.
        size: numbers a partition.
    """
    numbering = Numbering.of(journal.listing, journal.stream_lengths())
    num_partitions = numbering.num_partitions(size)
    missing = [p for p in range(num_partitions or 0) if p not in done]
    states = {beat.part: beat.state for beat in beats(journal.beats)}
    if not missing or num_partitions is None:
        return []
    if not states:
        return [f"not made: shards {ranges(missing)}"]
    first = Part.parse(next(iter(states)))
    lines = []
    for part in sorted((first, *first.others())):
        of_part = [p for p in missing if p in part.share(num_partitions)]
        if of_part:
            state = states.get(str(part))
            how = "it never began" if state is None else f"it was {state} when last heard of"
            lines.append(
                f"part {part} is not finished ({how}): shards {ranges(of_part)}; run it again, or "
                "the command without --part"
            )
    return lines


def ranges(numbers: Collection[int]) -> str:
    """Return rising numbers with neighbours drawn together.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    return ", ".join(_runs(numbers))


def _runs(numbers: Collection[int]) -> Iterator[str]:
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield f"{found[0]}-{found[-1]}" if len(found) > 1 else str(found[0])
