"""Windows of the device: full batches now, the rest once later, and never out of order."""

import pickle
import queue

import numpy as np

from dvse.chunk import Chunk
from pipelines.engines import device_process
from pipelines.engines.device_process import _next_window
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


def message(*pieces):
    return pickle.dumps(list(pieces))


def test_a_device_begins_when_a_batch_is_full_and_not_later(monkeypatch):
    """It used to wait a tenth of a second for more, whatever had come; here for a minute."""
    monkeypatch.setattr(device_process, "_PATIENCE_S", 60.0)
    inbox, assembly = queue.SimpleQueue(), Assembly(Rows())
    for first, last in ((0, 3), (3, 6)):
        inbox.put(message(*(piece(n, n) for n in range(first, last))))
    window = _next_window(inbox, assembly, 256)
    assert window.num_chunks == 6 and not window.is_last
    assert [key for key, _ in assembly.run(window.pieces, is_last=window.is_last).rows] == [
        *range(4)
    ]
    # Two wait there, so two more are a batch.
    inbox.put(message(piece(6, 6), piece(7, 7)))
    window = _next_window(inbox, assembly, 256)
    assert [key for key, _ in assembly.run(window.pieces, is_last=window.is_last).rows] == [
        *range(4, 8)
    ]
    inbox.put(message(piece(8, 8, modality="text")))  # is never computed with others
    assert _next_window(inbox, assembly, 256).num_chunks == 1


def test_half_a_batch_is_waited_for_until_it_takes_too_long(monkeypatch):
    monkeypatch.setattr(device_process, "_PATIENCE_S", 0.01)
    inbox, assembly = queue.SimpleQueue(), Assembly(Rows())
    inbox.put(message(*(piece(n, n) for n in range(5)), piece(5, 5, side=3)))
    window = _next_window(inbox, assembly, 256)  # of the other shape there is one of four
    assert window.num_chunks == 6 and not window.is_last
    assembly.run(window.pieces, is_last=window.is_last)
    window = _next_window(inbox, assembly, 256)  # nothing comes: what waits is computed
    assert window.is_last and not window.pieces
