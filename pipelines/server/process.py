"""The process around the app: uvicorn, signals, and what the log says.

Loading and importing are timed apart: the first is ours, the second is the libraries'.
"""

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from pipelines.runs.process_group import become_group
from pipelines.server.app import create_app, stop
from pipelines.server.door.patient_protocol import patient_protocol
from pipelines.server.loading import check_processes, load_served, memory_of
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import ENDPOINTS, LoadingConfig, ServerSettings
from pipelines.server.shelf import ShelfEntry

_LOG = logging.getLogger("dvse.serve")
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """A uvicorn server that lets the batcher come to an end while connections do."""

    async def shutdown(self, sockets: list | None = None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        ending = asyncio.ensure_future(stop(app))
        await super().shutdown(sockets)
        await ending


def serve(
    settings: ServerSettings,
    *,
    imported_in_s: float,
    load: Callable[[], ServedModel] | None = None,
) -> int:
    """Serve until a signal says stop, and return the exit code.

    Args:
        settings: of the app and the model; with port 0 the log says which one was free.
        imported_in_s: how long the libraries took, for the log.
        load: makes the first model where it is not loaded as the settings say.

    Raises:
        OSError: the address is not ours, or taken.
        DvseError: whatever loading the model raised.
    """
    started = time.perf_counter()
    failure: list[BaseException] = []

    def on_ready() -> None:
        # Libraries and model stay to the end; walking them again and again in search of garbage
        # costs a lone answer 8 % of its time.
        gc.collect()
        gc.freeze()
        _LOG.info(
            "ready in %.1f s after %.1f s of importing libraries; endpoints at %s: %s",
            time.perf_counter() - started,
            imported_in_s,
            address,
            ", ".join(ENDPOINTS),
        )

    def on_failure(error: BaseException) -> None:
        failure.append(error)
        server.should_exit = True

    # Bound before anything is loaded: a port that is taken is known at once.
    listener = _listener(settings)
    host = settings.listening.host
    name = f"[{host}]" if ":" in host else host
    address = f"{settings.listening.scheme}://{name}:{listener.getsockname()[1]}"
    _LOG.info("libraries imported in %.1f s", imported_in_s)
    app = create_app(
        load or (lambda: load_served(settings.loading)),
        settings,
        memory_bytes=memory_of(settings.loading),
        others=[_entry(config) for config in settings.others],
        on_ready=on_ready,
        on_failure=on_failure,
    )
    server = _Server(_uvicorn_config(app, settings))
    server.run(sockets=[listener])
    if failure:
        raise failure[0]
    return 0 if server.started else 1


def _entry(config: LoadingConfig) -> ShelfEntry:
    return ShelfEntry(
        names=(config.name,), load=lambda: load_served(config), memory_bytes=memory_of(config)
    )


def _listener(settings: ServerSettings) -> socket.socket:
    place = settings.listening
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    return socket.create_server((place.host, place.port), family=family, backlog=_BACKLOG)


def _uvicorn_config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.listening.host,
        port=settings.listening.port,
        ssl_certfile=settings.listening.ssl_certfile,
        ssl_keyfile=settings.listening.ssl_keyfile,
        http=patient_protocol(settings.header_timeout_s),
        loop="uvloop",
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.stop_deadline_s + 2)),
        backlog=_BACKLOG,
    )


def set_up_logging() -> None:
    """Write log lines to stderr: time, level, what."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s [%(levelname)s] %(message)s", force=True
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def start_processes(loading: LoadingConfig, argv: list[str]) -> None:
    """Replace this process by torchrun, which starts as many of it as the model is split over.

    Raises:
        BundleError, ConfigError: see `pipelines.server.loading.check_processes`.
    """
    check_processes(loading)
    become_group(loading.tensor_parallel, ["serve", *argv])


def follow_until_stopped(loading: LoadingConfig) -> int:
    """Be a follower of a tensor-parallel group; signals are the leader's business."""
    from pipelines.server.loading import follow_leader

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow_leader(loading)
    return 0
