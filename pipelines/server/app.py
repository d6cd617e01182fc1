"""The app: settings and a model in, an ASGI app out. It opens no file and no port."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from dvse.version import __version__
from pipelines.server import playground
from pipelines.server.door.admission import Admission
from pipelines.server.errors import install_handlers
from pipelines.server.metrics import Metrics
from pipelines.server.routes import chat, health, models, multimodal, tokens, transcription
from pipelines.server.served_model import ServedModel
from pipelines.server.serving import Serving
from pipelines.server.settings import ServerSettings

_LOG = logging.getLogger("dvse.serve")
_ROUTERS = (models, chat, multimodal, tokens, transcription)


def create_app(
    model: ServedModel | Callable[[], ServedModel],
    settings: ServerSettings,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_failure: Callable[[BaseException], None] = lambda error: None,
) -> FastAPI:
    """Return the app.

    Args:
        model: what answers, or how to load it; loading happens in a thread while `/health` answers
            already and everything else says 503.
        settings: names, keys, limits.
        on_ready, on_failure: called when the model is there, or could not be loaded.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_start(app))
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await stop(app)

    async def _start(app: FastAPI) -> None:
        try:
            if isinstance(model, ServedModel):
                loaded = model
            else:
                loaded = await asyncio.get_running_loop().run_in_executor(None, model)
            loaded.batcher.start()
            app.state.serving = Serving.of(loaded, settings, metrics)
            on_ready()
        except Exception as error:
            on_failure(error)

    app = FastAPIOffline(  # `/docs` with its scripts inside, for machines without a network
        redoc_url=None,
        title="DVSE",
        version=__version__,
        summary="Text, pictures and speech: OpenAI-compatible endpoints over a DVSE decoder",
        lifespan=lifespan,
    )
    app.state.serving = None
    metrics = Metrics(lambda: app.state.serving and app.state.serving.model.batcher.stats())
    app.state.metrics = metrics
    bearer = HTTPBearer(auto_error=False, description="with --api-key; checked at the door")
    for module in _ROUTERS:
        app.include_router(module.router, dependencies=[Security(bearer)])
    app.include_router(health.router)
    app.include_router(playground.router)
    install_handlers(app)
    app.add_middleware(Admission, settings=settings, metrics=metrics)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


async def stop(app: FastAPI) -> None:
    """Let the batcher finish or fail what is running, and take nothing more."""
    serving, app.state.serving = app.state.serving, None
    if serving is not None:
        deadline = serving.settings.stop_deadline_s
        await asyncio.get_running_loop().run_in_executor(None, serving.model.batcher.stop, deadline)
        serving.encoder.close()


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
