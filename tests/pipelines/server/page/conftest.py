import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from browser import find_chromium, open_browser
from fastapi import FastAPI

from pipelines.server.playground import playground_router


@contextmanager
def serving(app):
    """Serve an app on a free loopback port from a thread, and yield its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="session")
def static_page():
    """The address of the page alone, no endpoint behind it."""
    find_chromium()
    app = FastAPI()
    app.include_router(playground_router())
    with serving(app) as address:
        yield address


@pytest.fixture(scope="session")
def any_browser():
    with open_browser() as browser:
        yield browser
