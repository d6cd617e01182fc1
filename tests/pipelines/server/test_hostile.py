"""What strangers send to a real server: the right status, a short message, and it lives on."""

import base64
import json
import socket
import struct
import time
import zlib

import httpx
import pytest
from taught_model import HELLO_ANSWER

MODEL = "autoglm-phone-9b"
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def http(taught_server):
    with httpx.Client(base_url=taught_server, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def lives_on(http):
    """After whatever a test sends, the server answers as before."""
    yield
    body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "model": MODEL}
    found = http.post(PATH, json=body)
    assert found.json()["choices"][0]["message"]["content"] == HELLO_ANSWER


def refused(response, status):
    assert response.status_code == status, response.text[:300]
    error = response.json()["error"]
    assert 0 < len(error["message"]) <= 300
    assert "Traceback" not in response.text and "site-packages" not in response.text
    return error


def ask(http, content, **fields):
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 4}
    return http.post(PATH, json=body | fields)


def picture_part(data):
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    return [{"type": "image_url", "image_url": {"url": url}}]


def sound_part(data):
    heard = {"data": base64.b64encode(data).decode(), "format": "wav"}
    return [{"type": "input_audio", "input_audio": heard}]


def png(width, height, rows=b""):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_body_of_100_mb(http):
    def blocks():
        for _ in range(100):
            yield b"x" * 1_000_000

    # Whoever sends it is told so, and not hung up on while still sending.
    refused(http.post(PATH, content=blocks()), 413)
    refused(http.post(PATH, content=b"x" * 30_000_000), 413)
    head = {"Content-Length": "100000000", "Content-Type": "application/json"}
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=30) as raw:
        lines = "".join(f"{k}: {v}\r\n" for k, v in head.items())
        raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_ten_thousand_messages(http):
    messages = [{"role": "user", "content": "x"}] * 10_000
    refused(http.post(PATH, json={"model": MODEL, "messages": messages}), 400)


def test_broken_base64(http):
    url = "data:image/png;base64,@@@@"
    refused(ask(http, [{"type": "image_url", "image_url": {"url": url}}]), 400)
    heard = {"data": "%%%", "format": "wav"}
    refused(ask(http, [{"type": "input_audio", "input_audio": heard}]), 400)


def test_a_png_that_is_a_bomb(http):
    error = refused(ask(http, picture_part(png(60_000, 60_000, bytes(1000)))), 400)
    assert "pixels" in error["message"]
    refused(ask(http, picture_part(png(20_000, 2_501))), 400)
    started = time.monotonic()
    refused(ask(http, picture_part(png(7000, 7000, bytes(1_000_000)))), 400)  # and cut off
    assert time.monotonic() - started < 20


def test_media_that_are_none(http):
    for data in (b"", b"GIF89a", b"\xff" * 1000, b"<svg/>", b"%!PS\nquit"):
        if data:
            refused(ask(http, picture_part(data)), 400)
            refused(ask(http, sound_part(data)), 400)


def test_a_wav_whose_header_lies(http, sound):
    lie = bytearray(sound)
    at = lie.index(b"data") + 4
    lie[at : at + 4] = struct.pack("<I", 1_000_000)
    refused(ask(http, sound_part(bytes(lie))), 400)
    rate = bytearray(sound)
    rate[24:28] = struct.pack("<I", 2_000_000_000)
    refused(ask(http, sound_part(bytes(rate))), 400)


def test_deep_json(http):
    deep = b"[" * 200_000
    headers = {"Content-Type": "application/json"}
    refused(http.post(PATH, content=deep, headers=headers), 400)
    body = b'{"model":"x","messages":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001
    refused(http.post(PATH, content=body, headers=headers), 400)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe\x00", b'{"model": NaN}', b'{"model": 1e999}'],
)
def test_bodies_that_are_no_request(http, data):
    refused(http.post(PATH, content=data, headers={"Content-Type": "application/json"}), 400)


def test_wrong_types(http):
    for field, value in {
        "temperature": "1",
        "max_tokens": "5",
        "stream": "yes",
        "stop": {"a": 1},
        "seed": 1.5,
        "n": True,
        "logprobs": 1,
        "enable_thinking": "true",
    }.items():
        assert field in (refused(ask(http, "x", **{field: value}), 400)["param"] or "")


def test_special_tokens_in_text_stay_text(http):
    text = "<|user|><|assistant|><think></think><|begin_of_image|><|image_3|><|endoftext|>[gMASK]"
    found = http.post("/v1/tokenize", json={"inputs": [{"type": "text", "text": text}]}).json()
    assert set(found["modality_ids"]) == {0} and len(found["items"]) == 1
    back = http.post("/v1/detokenize", json={"ids": found["ids"]}).json()
    assert back["items"] == [
        {
            "modality": "text",
            "text": text,
            **dict.fromkeys(("name", "grid", "codes", "frame_rate_hz", "png")),
        }
    ]
    assert ask(http, text).status_code == 200


def test_files_and_remote_addresses_are_not_opened(http):
    for url in (
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x.png",
        "https://example.com/x.png",
        "ftp://x/y",
    ):
        error = refused(ask(http, [{"type": "image_url", "image_url": {"url": url}}]), 400)
        assert "root:" not in error["message"]


def test_methods_paths_and_kinds_that_do_not_exist(http):
    refused(http.get("/v1/nothing"), 404)
    refused(http.get(PATH), 405)
    refused(http.post(PATH, content=b"x", headers={"Content-Type": "text/plain"}), 415)
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=30) as raw:
        raw.sendall(b"NONSENSE\x00\x01\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.fixture(scope="module")
def strict_server(taught_model, tmp_path_factory):
    """A server with a key and little patience, started with its own settings."""
    import threading

    import uvicorn

    from pipelines.server.app import create_app
    from pipelines.server.door.patient_protocol import patient_protocol
    from pipelines.server.loading import load_served
    from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings

    loading = LoadingConfig(
        model=str(taught_model), limits=BatchingLimits(max_concurrency=2, cache_gib=0.05)
    )
    settings = ServerSettings(
        served_names=("m",), api_keys=("s3cret",), body_timeout_s=0.5, max_body_bytes=100_000
    )
    app = create_app(load_served(loading), settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", http=patient_protocol(0.5))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join(20)


def test_a_client_that_sends_its_headers_drop_by_drop_is_hung_up_on(strict_server):
    for first in (b"", b"GET /health HTTP/1.1\r\n"):
        with socket.create_connection(strict_server, timeout=10) as raw:
            raw.sendall(first)
            started = time.monotonic()
            assert raw.recv(100) == b""
            assert 0.3 < time.monotonic() - started < 5


def test_a_client_that_sends_its_body_drop_by_drop_gets_408(strict_server):
    with socket.create_connection(strict_server, timeout=10) as raw:
        raw.sendall(
            b"POST /v1/tokenize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        started = time.monotonic()
        assert raw.recv(100).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 5


def test_wrong_keys(strict_server):
    address = "http://{}:{}".format(*strict_server)
    url, body = f"{address}/v1/tokenize", {"inputs": [{"type": "text", "text": "a"}]}
    for header in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": b"Bearer \xff\xfe"}):
        error = refused(httpx.post(url, json=body, headers=header), 401)
        assert error["type"] == "authentication_error" and "s3cret" not in json.dumps(error)
    right = {"Authorization": "Bearer s3cret"}
    assert httpx.post(url, json=body, headers=right).status_code == 200
    assert httpx.get(f"{address}/health").status_code == 200


def test_invalid_utf8_in_a_url(http):
    assert http.get("/v1/models/%ff%fe").status_code == 404


def test_a_message_of_very_many_parts(http):
    error = refused(ask(http, [{"type": "text", "text": "a"}] * 1001), 400)
    assert "at most 1000" in error["message"]
