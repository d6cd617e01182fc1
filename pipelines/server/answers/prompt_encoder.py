"""Rows of items to prompt ids, away from the event loop.

Each picture and recording is decoded and encoded once and remembered by the hash of its bytes:
the same bytes always give the same codes, so nothing has to be checked. Knows no HTTP.
"""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from dvse.audio.preparer import AudioPreparer
from dvse.chunk import EncodedChunk
from dvse.encoding import Encoding
from dvse.errors import PromptTooLongError
from dvse.image.preparer import ImagePreparer
from dvse.items import Audio, Image, Item
from dvse.tokenizer import Tokenizer
from pipelines.answering.prompts import too_long
from pipelines.server.answers.length_bound import LengthBound
from pipelines.server.torch_threads import compute_alone

_REMEMBERED_CODES = 2_000_000
_CHUNKS_AT_ONCE = 16
_Result = TypeVar("_Result")


class PromptEncoder:
    """A tokenizer behind a pool of threads.

    Args:
        tokenizer: of the served model.
        workers: threads; decoding runs side by side, encoding one after another.
        max_pixels: pictures with more are refused on their header.
        max_audio_s: longer recordings are refused; a small file can hold days of silence.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, workers: int, max_pixels: int, max_audio_s: float
    ) -> None:
        self._tokenizer = tokenizer
        self._preparer = tokenizer.preparer
        image = self._preparer.image
        if isinstance(image, ImagePreparer):
            limits = replace(image.limits, max_pixels=min(max_pixels, image.limits.max_pixels))
            self._preparer = replace(self._preparer, image=replace(image, limits=limits))
        audio = self._preparer.audio
        if isinstance(audio, AudioPreparer):
            longest = min(max_audio_s, audio.max_duration_s)
            audio = replace(audio, max_duration_s=longest)
            self._preparer = replace(self._preparer, audio=audio)
        self._bound = LengthBound(tokenizer)
        self._pool = ThreadPoolExecutor(
            workers, thread_name_prefix="media", initializer=compute_alone
        )
        self._encoder_lock = threading.Lock()
        self._memory: OrderedDict[bytes, list[EncodedChunk]] = OrderedDict()
        self._memory_lock = threading.Lock()
        self._remembered = 0
        self.num_hits = 0

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """Run anything slow in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def encode(self, items: Sequence[Item], *, max_tokens: int | None = None) -> Encoding:
        """Return the ids of one row; call it through `run`.

        Args:
            items: the row.
            max_tokens: a row with more is refused, before it is encoded where that can be known.

        Raises:
            InputError: an item that cannot be read.
            PromptTooLongError: more than `max_tokens`.
        """
        if max_tokens is not None:
            least = self._bound.least_tokens(items)
            if least > max_tokens:
                raise PromptTooLongError(
                    f"the prompt has at least {least} ids, the decoder's context holds "
                    f"{max_tokens + 1} with its answer; send less"
                )
        chunks: list[EncodedChunk] = []
        for part, item in enumerate(items):
            found = self._encode_item(item)
            chunks += [replace(chunk, part=part) for chunk in found]
        encoding = self._tokenizer.assemble(chunks)
        if max_tokens is not None and len(encoding) > max_tokens:
            raise too_long(len(encoding), max_tokens + 1)
        return encoding

    def close(self) -> None:
        """End the threads, without waiting for what they do."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _encode_item(self, item: Item) -> list[EncodedChunk]:
        if not isinstance(item, Image | Audio) or not isinstance(item.source, bytes):
            return self._encode(item)
        digest = hashlib.sha256(type(item).__name__.encode() + b"\0")
        digest.update(item.source)
        key = digest.digest()
        with self._memory_lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                self.num_hits += 1
                return self._memory[key]
        found = self._encode(item)
        with self._memory_lock:
            if key not in self._memory:
                self._memory[key] = found
                self._remembered += _size(found)
            while self._remembered > _REMEMBERED_CODES:
                self._remembered -= _size(self._memory.popitem(last=False)[1])
        return found

    def _encode(self, item: Item) -> list[EncodedChunk]:
        encoded: list[EncodedChunk] = []
        buffer = []
        for chunk in self._preparer.chunks([item]):
            buffer.append(chunk)
            if len(buffer) == _CHUNKS_AT_ONCE:
                encoded += self._encode_chunks(buffer)
                buffer = []
        return encoded + self._encode_chunks(buffer)

    def _encode_chunks(self, chunks: list) -> list[EncodedChunk]:
        with self._encoder_lock:
            return self._tokenizer.encode_chunks(chunks)


def _size(chunks: list[EncodedChunk]) -> int:
    return sum(chunk.codes.size for chunk in chunks) + 64
