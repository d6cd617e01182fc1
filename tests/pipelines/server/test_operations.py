"""What operators ask for: several models, other origins, a log that machines read, spans, https."""

import json
import logging
import signal
import ssl
import subprocess
import urllib.request

import pytest
from app_requests import chat
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from pipelines.server.app import create_app
from pipelines.server.caller import record_of
from pipelines.server.door.tracing import Tracing
from pipelines.server.loading import load_served
from pipelines.server.settings import (
    BatchingLimits,
    ListeningSettings,
    LoadingConfig,
    ServerSettings,
)
from pipelines.server.shelf import ShelfEntry

ORIGIN = "https://page.example"


@pytest.fixture(scope="module")
def shared(taught_model):
    """An app of three models with room for two, open to one origin, with a log in JSON."""
    limits = BatchingLimits(max_concurrency=2, cache_gib=0.01)
    loading = LoadingConfig(model=str(taught_model), limits=limits)
    listening = ListeningSettings(allowed_origins=(ORIGIN,), access_log="json")
    settings = ServerSettings(served_names=("m",), listening=listening, models_gib=2.5)

    def load():
        return load_served(loading)

    others = [ShelfEntry(names=(name,), load=load, memory_bytes=2**30) for name in ("b", "c")]
    app = create_app(load, settings, memory_bytes=2**30, others=others)
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client


def loaded(client):
    return list(client.app.state.shelf._loaded)


def test_the_model_that_was_used_longest_ago_makes_way(shared):
    assert [m["id"] for m in shared.get("/v1/models").json()["data"]] == ["m", "b", "c"]
    assert chat(shared, "Hello", model="b").json()["model"] == "b"
    assert loaded(shared) == ["m", "b"]
    chat(shared, "Hello", model="m")
    assert chat(shared, "Hello", model="c").status_code == 200
    assert loaded(shared) == ["m", "c"]
    assert chat(shared, "Hello", model="b").status_code == 200
    assert loaded(shared) == ["c", "b"]
    assert chat(shared, "Hello", model="d").status_code == 404


def test_other_origins_may_call_where_they_are_allowed(shared):
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    found = shared.options("/v1/chat/completions", headers=asked)
    assert found.headers["access-control-allow-origin"] == ORIGIN
    other = shared.get("/v1/models", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_line_a_request(shared, caplog):
    with caplog.at_level(logging.INFO, logger="dvse.access"):
        chat(shared, "Hello", model="b")
        shared.get("/v1/nothing", headers={"x-request-id": "abc"})
        shared.get("/health")
    answered, lost = (json.loads(r.message) for r in caplog.records if r.name == "dvse.access")
    assert (answered["path"], answered["status"]) == ("/v1/chat/completions", 200)
    assert answered["prompt_tokens"] > 0 and answered["completion_tokens"] > 0
    assert answered["model"] == "b" and 0 < answered["first_token_s"] <= answered["seconds"]
    assert (lost["status"], lost["request_id"], lost["method"]) == (404, "abc", "GET")


def test_a_span_a_request():
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    async def answer(scope, receive, send):
        record_of(scope).completion_tokens = 3
        await PlainTextResponse("x")(scope, receive, send)

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = Tracing(answer, provider.get_tracer("test"))
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    TestClient(app).post("/v1/chat/completions", headers=headers)
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == trace
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["gen_ai.usage.output_tokens"] == 3


@pytest.mark.slow
def test_https(taught_model, tmp_path):
    import re
    import time

    from server_process import serve_command

    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made += ["-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    command = serve_command(
        taught_model,
        *("--ssl-certfile", str(tmp_path / "cert.pem"), "--ssl-keyfile", str(tmp_path / "key.pem")),
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 200
        while not (found := re.search(r"endpoints at (https://\S+):\s", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with urllib.request.urlopen(f"{found[1]}/health", context=context) as answer:
            assert json.load(answer) == {"status": "ok"}
    finally:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)
