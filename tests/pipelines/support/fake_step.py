"""A step without weights: ids are made from the bytes of the inputs, which also give orders.

A file that holds `CRASH`, `HANG`, `KILL once PATH`, `KILL`, `BAD`, `SLEEP seconds`, `LONG n` or
`POISON` makes the decoder (for POISON the encoder) do that.
"""

import hashlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dvse.chunk import Chunk, EncodedChunk
from dvse.encoding import Encoding, Span
from dvse.errors import BundleNotFoundError, DecodeError
from dvse.items import Audio, Image, Special, Text
from dvse.storage.shard import ShardMetadata, encoding_row, shard_schema
from pipelines.steps.step import DeviceWork, Step, StepDescription


@dataclass(frozen=True)
class FakePreparer:
    def chunks(self, sequence):
        for part, item in enumerate(sequence):
            if isinstance(item, Special):
                yield Chunk(modality="special", part=part, data=item.name)
            elif isinstance(item, Text):
                yield Chunk(modality="text", part=part, data=item.text)
            else:
                data = item.source
                if isinstance(data, str):
                    data = Path(data).read_bytes()
                kind = "image" if isinstance(item, Image) else "audio"
                if isinstance(item, Audio) and not isinstance(data, bytes):
                    data = np.asarray(data).tobytes()
                yield from obey(data, kind, part)


def obey(data, kind, part):
    words = data.split(b" ")
    if words[0] == b"CRASH":
        os.kill(os.getpid(), signal.SIGSEGV)
    if words[0] == b"EXIT":
        os._exit(3)
    if words[0] == b"HANG":
        while True:
            pass
    if words[0] == b"KILL":
        flag = Path(os.fsdecode(words[2])) if words[1:2] == [b"once"] else None
        if flag is None or not flag.exists():
            if flag is not None:
                flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if words[0] == b"BAD":
        raise DecodeError("it says BAD")
    if words[0] == b"WEIRD":
        raise ZeroDivisionError("a decoder's own error")
    if words[0] == b"SLEEP":
        time.sleep(float(words[1]))
    num_chunks = int(words[1]) if words[0] == b"LONG" else 1
    for number in range(num_chunks):
        seed = data + (b"#%d" % number if number else b"")
        values = np.frombuffer(hashlib.sha256(seed).digest(), dtype=np.uint8).copy()
        if words[0] == b"POISON":
            values[:] = 255
        if words[0] == b"LONG":
            values = np.tile(values, 100_000)
        duration = 0.5 if kind == "audio" else None
        grid = (4, 8) if kind == "image" else None
        yield Chunk(modality=kind, part=part, data=values, grid=grid, duration_s=duration)


@dataclass(frozen=True, kw_only=True)
class FakeStep(Step):
    bundle_fingerprint: str = "f" * 64
    threads: int = 1
    fail: str = ""
    kill_device: str = ""
    log: str = ""
    seconds: float = 0.0  # that the encoder takes over whatever it is given
    name = "fake"
    extra: dict = field(default_factory=dict)

    def identity(self):
        return {"step": self.name, "bundle_fingerprint": self.bundle_fingerprint, **self.extra}

    def profile(self, device):
        return {"device": device, "threads": self.threads, "versions": {"torch": "1.0"}}

    def quick_profile(self, device, recorded):
        return self.profile(device)

    def open(self, device):
        if self.fail:
            raise BundleNotFoundError(self.fail)
        return FakeWork(self, device)


class FakeWork(DeviceWork):
    def __init__(self, step, device):
        self.step, self.device = step, device
        self.vocabulary_size = 1024

    def describe(self):
        metadata = ShardMetadata(
            bundle="fake",
            bundle_fingerprint=self.step.bundle_fingerprint,
            vocabulary_fingerprint="v" * 64,
            vocabulary_size=self.vocabulary_size,
            profile=self.step.profile(self.device),
        )
        return StepDescription(
            schema=shard_schema("uint16"),
            metadata=metadata.to_schema_metadata(),
            profile=self.step.profile(self.device),
            preparer=FakePreparer(),
        )

    def encode(self, chunks):
        if self.step.kill_device:
            flag = Path(self.step.kill_device)
            if not flag.exists() or flag.name == "always":
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.step.seconds)
        if self.step.log:
            with Path(self.step.log).open("a") as file:
                file.write(f"{len(chunks)}\n")
        return [self._encode(chunk) for chunk in chunks]

    def _encode(self, chunk):
        if isinstance(chunk.data, str):
            codes = np.frombuffer(chunk.data.encode(), np.uint8).astype(np.int32)
        else:
            if chunk.data.size and chunk.data.min() == 255:
                raise ValueError("poisoned chunk")
            codes = chunk.data[:32].astype(np.int32)
        return EncodedChunk(
            modality=chunk.modality,
            part=chunk.part,
            codes=codes,
            grid=chunk.grid,
            duration_s=chunk.duration_s,
        )

    def rows(self, inputs):
        return [self._row(loaded, encoded) for loaded, encoded in inputs]

    def _row(self, loaded, encoded):
        spans, start = [], 0
        for chunk in encoded:
            stop = start + len(chunk.codes)
            grid, seconds = chunk.grid, chunk.duration_s
            if spans and spans[-1].modality == chunk.modality == "audio":
                before = spans.pop()
                start, seconds = before.start, before.duration_s + seconds
            span = Span(
                modality=chunk.modality, start=start, stop=stop, grid=grid, duration_s=seconds
            )
            spans.append(span)
            start = stop
        ids = np.concatenate([c.codes for c in encoded]).astype(np.int64)
        encoding = Encoding(ids=ids, modality_ids=np.zeros(len(ids), np.int8), spans=tuple(spans))
        mask = None if loaded.is_answer is None else encoding.mask(loaded.is_answer)
        return encoding_row(
            encoding,
            id=loaded.id,
            source=loaded.source,
            sha256=loaded.sha256,
            text=loaded.text,
            loss_mask=mask,
            id_dtype="uint16",
        )
