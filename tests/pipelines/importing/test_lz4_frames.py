"""LZ4 frames that the library writes, and damaged ones."""

import contextlib
import io
import random
from pathlib import Path

import pytest

from pipelines.importing.lz4_frames import MAGIC, lz4_blocks

FRAMES = Path(__file__).parent / "lz4"
SQUARES = b"".join(b"%d," % (i * i % 97) for i in range(60_000))
CONTENT = SQUARES + bytes(70_000) + SQUARES[:40_000]


def expanded(data):
    return b"".join(lz4_blocks(io.BytesIO(data)))


@pytest.mark.parametrize("name", ["linked", "alone"])
def test_frames_of_the_library(name):
    """python-lz4 wrote them: linked blocks and a sum of all; sums of each and the size of all."""
    blocks = list(lz4_blocks(io.BytesIO((FRAMES / f"{name}.lz4").read_bytes())))
    assert b"".join(blocks) == CONTENT
    assert max(map(len, blocks)) == 1 << 16


def test_a_frame_by_hand():
    """Four literals, then the last two of them copied three times over; then a block as it is."""
    header = MAGIC + bytes([0x40, 0x40, 0])
    block = bytes([0x42]) + b"abcd" + bytes([2, 0]) + bytes([0x10]) + b"e"
    stored = b"as it is"
    frame = header + len(block).to_bytes(4, "little") + block
    frame += (len(stored) | 1 << 31).to_bytes(4, "little") + stored + bytes(4)
    assert expanded(frame) == b"abcd" + b"cdcdcd" + b"e" + stored


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\3\4", "no LZ4 frame"),
        (MAGIC + bytes([0x80, 0x40, 0]), "another kind"),
        (MAGIC + bytes([0x41, 0x40, 0]), "another kind"),
        (MAGIC + bytes([0x40, 0x40, 0]) + (1 << 20).to_bytes(4, "little"), "larger than its frame"),
        (MAGIC + bytes([0x40, 0x40, 0, 4, 0, 0, 0, 0x10, 97, 9, 0]), "from nowhere"),
        (MAGIC + bytes([0x40, 0x40, 0, 2, 0, 0, 0, 0x50, 97]), "ends too early"),
    ],
)
def test_what_is_no_frame(data, message):
    with pytest.raises(ValueError, match=message):
        expanded(data)


def test_damage_ends_in_an_error_or_in_bytes():
    rng, frames = random.Random(0), [p.read_bytes() for p in sorted(FRAMES.glob("*.lz4"))]
    for _ in range(300):
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(ValueError, EOFError, IndexError):
            assert len(expanded(bytes(data))) < 40 << 20
