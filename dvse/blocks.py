"""The blocks of a vocabulary: runs of ids that belong together, and the check that they fit."""

from dataclasses import dataclass

from dvse.errors import VocabularyError

NUM_RESERVED = 256

KINDS = ("text", "special", "image", "audio")

RUNS = "audio_runs"
"""Name of a block in which each id stands for several audio codes."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A run of ids with one meaning.

    Attributes:
        name: `text`, `special`, `image`, `audio` or `audio_runs`.
        first_id: the id of its first entry.
        size: how many ids it has.
        level: residual level of a code block.
        first_code: the code (or run) that `first_id` stands for (above 0 in a block that was added
            when a codebook grew).
    """

    name: str
    first_id: int
    size: int
    level: int = 0
    first_code: int = 0

    def __post_init__(self) -> None:
        if self.name not in (*KINDS, RUNS):
            raise VocabularyError(
                f"expected a block text, special, image, audio or {RUNS}, received {self.name!r}"
            )
        fields = (self.first_id, self.size, self.level, self.first_code)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in fields):
            raise VocabularyError(
                f"expected whole numbers from 0 in block {self.name!r}, received {fields}"
            )

    @property
    def stop_id(self) -> int:
        """One past its last id."""
        return self.first_id + self.size

    @property
    def kind(self) -> str:
        """One of `KINDS`; ids of runs are audio."""
        return "audio" if self.name == RUNS else self.name


def check_blocks(blocks: tuple[Block, ...], *, num_runs: int = 0) -> None:
    """Raise `VocabularyError` unless the blocks form a vocabulary without overlap or gap.

    Args:
        blocks: in order of ids.
        num_runs: runs of codes, for which there has to be room.
    """
    if [b.name for b in blocks[:2]] != ["text", "special"] or blocks[1].size != NUM_RESERVED:
        raise VocabularyError(
            f"expected a text block, then {NUM_RESERVED} specials, received "
            f"{[(b.name, b.size) for b in blocks[:2]]}"
        )
    if not {b.name for b in blocks[2:]} <= {"image", "audio", RUNS}:
        raise VocabularyError("expected one text block and one special block, then only codes")
    expected_id = 0
    seen: dict[tuple[str, int], int] = {}
    for block in blocks:
        if block.size < 1 or block.first_id != expected_id:
            raise VocabularyError(
                f"{describe_block(block)}: expected it to begin at {expected_id} and to hold at "
                "least one id; blocks may neither overlap nor leave gaps"
            )
        expected_id = block.stop_id
        have = seen.get((block.name, block.level), 0)
        if block.first_code != have or (block.level and (block.name, block.level - 1) not in seen):
            raise VocabularyError(
                f"{describe_block(block)}: expected its first code to be {have} and the level "
                "before it to exist"
            )
        seen[block.name, block.level] = have + block.size
    for name in ("image", "audio"):
        sizes = {size for (block_name, _), size in seen.items() if block_name == name}
        if len(sizes) > 1:
            raise VocabularyError(f"expected all {name} levels to be of one size, received {sizes}")
    if (room := seen.get((RUNS, 0), 0)) != num_runs:
        raise VocabularyError(
            f"expected a block of {num_runs} runs of audio codes, received one of {room}"
        )
    if num_runs and {(RUNS, 1), ("audio", 1)} & seen.keys():
        raise VocabularyError(
            "expected audio codes of one level beside runs of them, received more; runs of "
            "residual levels are not defined"
        )


def block_key(block: Block) -> tuple[str, int, int]:
    """Return what tells a block from all others: name, level, first code."""
    return block.name, block.level, block.first_code


def describe_block(block: Block) -> str:
    """Return how a message names a block.

    >>> describe_block(Block(name="image", first_id=10, size=4))
    'image level 0 codes 0..3 at 10..13'
    """
    where = f"{block.first_id}..{block.stop_id - 1}"
    if block.name in ("text", "special"):
        return f"{block.name} at {where}"
    last = block.first_code + block.size - 1
    if block.name == RUNS:
        return f"audio runs {block.first_code}..{last} at {where}"
    return f"{block.name} level {block.level} codes {block.first_code}..{last} at {where}"
