"""The app: settings and a model in, an ASGI app out. It opens no file and no port."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from dvse.version import __version__
from pipelines.server import playground
from pipelines.server.door.admission import Admission
from pipelines.server.door.plain_methods import PlainMethods
from pipelines.server.door.root_path import RootPath
from pipelines.server.door.tracing import Tracing, otlp_tracer
from pipelines.server.errors import install_handlers
from pipelines.server.metrics import Metrics
from pipelines.server.routes import (
    chat,
    completions,
    embeddings,
    health,
    models,
    multimodal,
    realtime,
    responses,
    tokens,
    transcription,
    verify,
)
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import ServerSettings
from pipelines.server.shelf import Shelf, ShelfEntry

_LOG = logging.getLogger("dvse.serve")
_ROUTERS = (
    models,
    chat,
    responses,
    completions,
    embeddings,
    transcription,
    multimodal,
    tokens,
    verify,
)


def create_app(
    model: ServedModel | Callable[[], ServedModel],
    settings: ServerSettings,
    *,
    memory_bytes: int = 0,
    others: Sequence[ShelfEntry] = (),
    on_ready: Callable[[], None] = lambda: None,
    on_failure: Callable[[BaseException], None] = lambda error: None,
) -> FastAPI:
    """Return the app.

    Args:
        model: what answers, or how to load it; loading happens in a thread while `/health` answers
            already and everything else says 503.
        settings: names, keys, limits.
        memory_bytes: what the model holds.
        others: further models, loaded when somebody first asks for them.
        on_ready, on_failure: called when the model is there, or could not be loaded.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        shelf = app.state.shelf = Shelf((first, *others), settings, metrics)
        loading = asyncio.ensure_future(_start(shelf))
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await stop(app)

    async def _start(shelf: Shelf) -> None:
        try:
            await shelf.load_first()
            on_ready()
        except Exception as error:
            on_failure(error)

    load = (lambda: model) if isinstance(model, ServedModel) else model
    first = ShelfEntry(names=settings.served_names, load=load, memory_bytes=memory_bytes)
    app = FastAPIOffline(  # `/docs` with its scripts inside, for machines without a network
        redoc_url=None,
        title="DVSE",
        version=__version__,
        summary="Text, pictures and speech: OpenAI-compatible endpoints over a DVSE decoder",
        lifespan=lifespan,
    )
    app.state.shelf = None
    metrics = Metrics(lambda: app.state.shelf and app.state.shelf.stats())
    app.state.metrics = metrics
    routes = _add_routes(app, settings)
    install_handlers(app)
    _add_doors(app, settings, metrics, routes)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _add_routes(app: FastAPI, settings: ServerSettings) -> list[Any]:
    """Add the endpoints and return their routes."""
    bearer = HTTPBearer(auto_error=False, description="a key of --api-key; checked at the door")
    keyed = [Security(bearer)] if settings.api_keys else []
    open_to_all = (health.router, realtime.router, verify.socket_router, playground.router)
    for module in _ROUTERS:
        app.include_router(module.router, dependencies=keyed)
    for router in open_to_all:
        app.include_router(router)
    routers = [*(module.router for module in _ROUTERS), *open_to_all]
    return [route for router in routers for route in router.routes]


def _add_doors(
    app: FastAPI, settings: ServerSettings, metrics: Metrics, routes: Sequence[Any]
) -> None:
    """Put what every request passes around the app, the innermost first."""
    app.add_middleware(PlainMethods, routes=routes)
    if settings.listening.otlp_endpoint is not None:
        app.add_middleware(Tracing, tracer=otlp_tracer(settings.listening.otlp_endpoint))
    app.add_middleware(Admission, settings=settings, metrics=metrics, routes=routes)
    if settings.listening.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.listening.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    if settings.listening.root_path:
        app.add_middleware(RootPath, prefix=settings.listening.root_path)


async def stop(app: FastAPI) -> None:
    """Let the batchers finish or fail what is running, and take nothing more."""
    shelf, app.state.shelf = app.state.shelf, None
    if shelf is not None:
        await shelf.close()


def _described(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, without the status that our errors never have."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
    assert app.openapi_schema is not None
    return app.openapi_schema
