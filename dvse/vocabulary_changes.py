"""What has to change to get from one vocabulary to another: which ids stay, and which do not."""

from collections.abc import Mapping, Sequence

from dvse.blocks import Block, block_key, describe_block


def block_changes(old: Sequence[Block], new: Sequence[Block]) -> list[str]:
    """Return a line a block that was added, removed or moved."""
    mine, theirs = ({block_key(b): b for b in blocks} for blocks in (old, new))
    lines = []
    for key, block in mine.items():
        if key not in theirs:
            lines.append(f"removed: {describe_block(block)}")
        elif theirs[key] != block:
            lines.append(f"moved: {describe_block(block)} to {describe_block(theirs[key])}")
    return [
        *lines,
        *(f"added: {describe_block(b)}" for key, b in theirs.items() if key not in mine),
    ]


def run_changes(old: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> list[str]:
    """Return a line a run of codes that has become another one."""
    return [
        f"moved: audio run {number}, {list(run)}, is {list(other)}"
        for number, (run, other) in enumerate(zip(old, new, strict=False))
        if run != other
    ]


def special_changes(old: Mapping[str, int], new: Mapping[str, int]) -> list[str]:
    """Return a line a special token that was added, removed or moved."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None:
            lines.append(f"added: {name} at {after}")
        elif after is None:
            lines.append(f"removed: {name} from {before}")
        elif before != after:
            lines.append(f"moved: {name} from {before} to {after}")
    return lines
