"""Windows of the device: full batches now, the rest once later, and never out of order."""

import numpy as np

from dvse.chunk import Chunk
from pipelines.engines.window import Assembly, Piece
from pipelines.sources.loading import Loaded
from pipelines.steps.step import DeviceWork


class Rows(DeviceWork):
    """Four pictures of one shape make a batch; an output is the chunk's own number."""

    def __init__(self):
        self.windows = []

    def describe(self):
        raise NotImplementedError

    def batch_rows(self, chunk):
        return 4 if chunk.modality == "image" else 1

    def encode(self, chunks):
        self.windows.append([int(c.data.flat[0]) for c in chunks])
        return self.windows[-1]

    def rows(self, inputs):
        return [{"id": loaded.id, "ids": outputs} for loaded, outputs in inputs]


def piece(number, *values, side=2, modality="image", is_last=True):
    chunks = [Chunk(modality=modality, data=np.full((side, side), v)) for v in values]
    loaded = Loaded(id=str(number), source="", sha256="") if is_last else None
    return Piece(number, chunks, loaded)


def test_what_would_leave_a_batch_half_empty_waits_once():
    work = Rows()
    assembly = Assembly(work)
    first = assembly.run([piece(n, n) for n in range(6)], is_last=False)
    assert [key for key, _ in first.rows] == [0, 1, 2, 3]
    assert assembly.holds
    second = assembly.run([piece(6, 6), piece(7, 7), piece(8, 8)], is_last=False)
    assert [key for key, _ in second.rows] == [4, 5, 6, 7]
    third = assembly.run([], is_last=True)
    assert [key for key, _ in third.rows] == [8]
    assert not assembly.holds
    assert work.windows == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_an_odd_shape_holds_nothing_up_for_longer_than_a_window():
    assembly = Assembly(Rows())
    assert not assembly.run([piece(0, 0, side=3)], is_last=False).rows
    done = assembly.run([piece(n, n) for n in range(1, 5)], is_last=False)
    assert [key for key, _ in done.rows] == [0, 1, 2, 3, 4]


def test_pieces_of_one_input_stay_in_order():
    """Its first piece could wait, but its second one cannot: text waits for nothing."""
    assembly = Assembly(Rows())
    halves = [piece(1, 10, 11, is_last=False), piece(1, 12, modality="text")]
    done = assembly.run(halves, is_last=False)
    assert done.rows == [(1, {"id": "1", "ids": [10, 11, 12]})]


def test_a_forgotten_input_does_not_wait():
    work = Rows()
    assembly = Assembly(work)
    assembly.run([piece(0, 0), piece(1, 1)], is_last=False)
    assembly.forget(0)
    assert [key for key, _ in assembly.run([], is_last=True).rows] == [1]
    assert work.windows == [[1]]
