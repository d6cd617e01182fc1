"""The models of one server: which are loaded, who uses them, and which makes way.

Each is loaded when somebody first asks for it. Where a memory limit would be passed, the model that
was used longest ago makes way first; one that answers somebody never does.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from pipelines.server.batching.batcher import BatcherStats
from pipelines.server.errors import ApiError, busy, unavailable
from pipelines.server.metrics import Metrics
from pipelines.server.served_model import ServedModel
from pipelines.server.serving import Serving
from pipelines.server.settings import ServerSettings

_LOG = logging.getLogger("dvse.serve")


@dataclass(frozen=True, kw_only=True)
class ShelfEntry:
    """A model that may be asked for.

    Attributes:
        names: what clients call it, the first is the one that answers carry.
        load: makes it; runs in a thread.
        memory_bytes: what it will hold, weights and cache.
    """

    names: tuple[str, ...]
    load: Callable[[], ServedModel]
    memory_bytes: int = 0


@dataclass(kw_only=True)
class _Loaded:
    serving: Serving
    num_users: int = 0


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model in use under the name that was asked for."""

    name: str
    serving: Serving = field(repr=False)


class Shelf:
    """The models of a server by name, as many as memory holds; lives in one event loop.

    Args:
        entries: the first is what a request without a model gets.
        settings: limits, the memory among them.
        metrics: counts.

    Attributes:
        created: seconds since 1970, as OpenAI's model list has it.
    """

    def __init__(
        self, entries: Sequence[ShelfEntry], settings: ServerSettings, metrics: Metrics
    ) -> None:
        self._entries = {name: entry for entry in entries for name in entry.names}
        self._first = entries[0].names[0]
        self._settings, self._metrics = settings, metrics
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._loading = asyncio.Lock()
        self.created = int(time.time())

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._entries)

    @property
    def first(self) -> str:
        """The name of the first model."""
        return self._first

    @property
    def loaded(self) -> list[Serving]:
        """The models that are there now."""
        return [found.serving for found in self._loaded.values()]

    def check_name(self, name: str | None) -> str:
        """Return the name that an answer carries.

        Raises:
            ApiError: 404, no such model.
        """
        if name is None:
            return self._first
        if name not in self._entries:
            raise ApiError(
                404,
                f"expected one of the models {', '.join(self._entries)}, received {name!a:.60}",
                code="model_not_found",
                param="model",
            )
        return name

    @asynccontextmanager
    async def open(self, name: str | None) -> AsyncIterator[Opened]:
        """Lend a model, loaded first where it is not there; it stays for as long as this is open.

        Raises:
            ApiError: 404 no such model, 429 no room beside those in use, 503 it cannot be loaded.
        """
        name = self.check_name(name)
        key = self._entries[name].names[0]
        found = self._loaded.get(key) or await self._fetch(key)
        found.num_users += 1
        self._loaded.move_to_end(key)
        try:
            yield Opened(name=name, serving=found.serving)
        finally:
            found.num_users -= 1

    async def load_first(self) -> None:
        """Load the first model; whatever goes wrong is raised as it is."""
        async with self._loading:
            await self._load(self._first)

    async def close(self) -> None:
        """Let all models finish or fail what they do, and take nothing more."""
        while self._loaded:
            await self._close(self._loaded.popitem(last=False)[1].serving)

    def stats(self) -> BatcherStats | None:
        """Return the sums over all loaded models."""
        found = [serving.model.batcher.stats() for serving in self.loaded]
        return BatcherStats.sum(found) if found else None

    async def _fetch(self, key: str) -> _Loaded:
        async with self._loading:
            if key in self._loaded:
                return self._loaded[key]
            await self._make_room(self._entries[key].memory_bytes)
            try:
                return await self._load(key)
            except Exception as error:
                _LOG.exception("%s could not be loaded", key)
                raise unavailable(
                    f"{key} could not be loaded; the server's log says why"
                ) from error

    async def _load(self, key: str) -> _Loaded:
        loop = asyncio.get_running_loop()
        model = await loop.run_in_executor(None, self._entries[key].load)
        model.batcher.start()
        found = _Loaded(serving=Serving.of(model, self._settings, self._metrics))
        self._loaded[key] = found
        return found

    async def _make_room(self, wanted: int) -> None:
        if self._settings.models_gib is None:
            return
        limit = self._settings.models_gib * 2**30
        while self._loaded and self._held() + wanted > limit:
            idle = next((key for key, found in self._loaded.items() if not found.num_users), None)
            if idle is None:
                raise busy(5)
            _LOG.info("%s makes way", idle)
            await self._close(self._loaded.pop(idle).serving)

    def _held(self) -> int:
        return sum(self._entries[key].memory_bytes for key in self._loaded)

    async def _close(self, serving: Serving) -> None:
        deadline = self._settings.stop_deadline_s
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, serving.model.batcher.stop, deadline)
        serving.encoder.close()


async def current(request: Request) -> Shelf:
    """Return the app's `Shelf`.

    Raises:
        ApiError: 503, the first model is still loading or the server stops.
    """
    shelf = getattr(request.app.state, "shelf", None)
    if shelf is None or not shelf.loaded:
        raise unavailable("the model is still loading; try again in a moment")
    return shelf


Current = Annotated[Shelf, Depends(current)]
