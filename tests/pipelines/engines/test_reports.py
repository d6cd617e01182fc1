"""How much a decode worker says at once: a device that has nothing to do is not let wait for it."""

import pickle
import time
from types import SimpleNamespace

import numpy as np

from dvse.chunk import Chunk
from pipelines.engines import decode_worker
from pipelines.engines.decode_worker import _Outbox
from pipelines.engines.messages import Taken, Work, packed
from pipelines.engines.parcel import Parcel
from pipelines.engines.window import Piece
from pipelines.sources.loading import Loaded


def reports(monkeypatch, *, count, seconds):
    """Chunks and end of each report on a task of `count` pictures that take so long each."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(Parcel, "send", lambda self, connection: self.close())

    def pieces(preparer, record, key):
        clock.now += seconds
        chunk = Chunk(modality="image", data=np.zeros((2, 2, 3), np.uint8))
        yield Piece(key, [chunk], Loaded(id="", source="", sha256=""))

    monkeypatch.setattr(decode_worker, "pieces", pieces)
    sent = []
    pipe = SimpleNamespace(
        send_bytes=lambda data: sent.append(pickle.loads(data)), recv_bytes=lambda: packed(Taken())
    )
    numbered = [SimpleNamespace(index=n, record=None) for n in range(count)]
    _Outbox(pipe, [0.0, 0.0]).run(None, Work(1, numbered))
    assert [n for report in sent for n in report.prepared] == list(range(count))
    return [(report.num_chunks, report.is_last) for report in sent]


def test_slow_pictures_are_told_of_soon(monkeypatch):
    # 30 ms are more than the 25 that a device may be let wait.
    expected = [(3, False), (3, False), (3, False), (1, True)]
    assert reports(monkeypatch, count=10, seconds=0.010) == expected


def test_quick_ones_together(monkeypatch):
    assert reports(monkeypatch, count=300, seconds=0.0) == [(128, False), (128, False), (44, True)]
