"""Servers and what is sent to them."""

import io

import numpy as np
import pytest
from PIL import Image
from tones import tone


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A PNG of 32 x 32."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((32, 32)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def sound() -> bytes:
    """A WAV of half a second."""
    return tone(440.0)


@pytest.fixture(scope="session")
def taught_model(tmp_path_factory, picture, sound):
    """A model directory that knows a few answers by heart."""
    from taught_model import save_taught_model

    return save_taught_model(tmp_path_factory.mktemp("models") / "taught", picture, sound)


@pytest.fixture(scope="session")
def taught_server(taught_model, tmp_path_factory):
    """The address of a real server under the article's model name."""
    from server_process import running, serve_command

    command = serve_command(
        taught_model, "--served-model-name", "autoglm-phone-9b", "--max-concurrency", "8"
    )
    with running(command, tmp_path_factory.mktemp("taught") / "log") as address:
        yield address


@pytest.fixture(scope="session")
def client(taught_model):
    """A client of an app in this process."""
    from fastapi.testclient import TestClient

    from pipelines.server.app import create_app
    from pipelines.server.loading import load_served
    from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings

    limits = BatchingLimits(max_concurrency=8, cache_gib=0.05)
    loading = LoadingConfig(model=str(taught_model), limits=limits)
    app = create_app(load_served(loading), ServerSettings(served_names=("m", "alias")))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client
