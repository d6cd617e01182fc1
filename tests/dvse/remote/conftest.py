"""An S3 server of these tests; every test has a bucket of its own."""

import itertools

import fsspec
import pytest
from s3_server import make_bucket, running

from dvse.remote import object_store
from dvse.remote.patience import Patience
from dvse.remote.remote_path import RemotePath

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server():
    with running() as s3:
        yield s3


@pytest.fixture
def s3(server, monkeypatch):
    """The server, known to the environment; pauses are noted instead of made."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server.slept = []
    monkeypatch.setattr(object_store, "PATIENCE", Patience(sleep=server.slept.append))
    server.faults.planned.clear()
    server.faults.happened.clear()
    server.faults.share = 0.0
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield server
    server.faults.planned.clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def bucket(s3):
    name = f"bucket-{next(_NUMBERS)}"
    s3.client = make_bucket(s3, name)
    return RemotePath(f"s3://{name}")
