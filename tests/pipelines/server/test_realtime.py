"""Sound over a socket: the ids that come are those of the whole recording."""

import json

import numpy as np
import pytest

import dvse

URL = "/v1/realtime/tokens"


def spoken(rate_hz=8_000, seconds=3.0):
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (8000 * np.sin(2 * np.pi * (200 + 90 * time) * time)).astype("<i2")


def test_streamed_ids_are_those_of_the_recording(client):
    tokenizer = client.app.state.shelf.loaded[0].model.tokenizer
    samples = spoken()
    whole = tokenizer.encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids.tolist()
    for kind, sent in (("pcm16", samples), ("f32", (samples / 2**15).astype("<f4"))):
        ids, codes = [], []
        with client.websocket_connect(URL) as socket:
            socket.send_json({"type": "start", "sample_rate_hz": 8_000, "format": kind})
            assert socket.receive_json() == {"type": "started", "model": "m"}
            for start in range(0, len(sent), 1_234):
                socket.send_bytes(sent[start : start + 1_234].tobytes())
            socket.send_json({"type": "end"})
            message = {"type": "tokens"}
            while message["type"] == "tokens":
                message = socket.receive_json()
                ids += message["ids"]
                codes += message["codes"]
        assert message["type"] == "done" and message["duration_s"] == 3.0
        assert ids == whole and len(codes) == len(whole) - 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{}", None),
        ("nonsense", None),
        ('{"type": "start", "sample_rate_hz": 5}', None),
        ('{"type": "start", "sample_rate_hz": 8000, "model": "none"}', None),
        ('{"type": "start", "sample_rate_hz": 8000}', b"odd"),
        ('{"type": "start", "sample_rate_hz": 8000}', "?"),
        ('{"type": "start", "sample_rate_hz": 8000}', '{"type": "end"}'),
    ],
)
def test_what_is_wrong_is_one_error(client, first, second):
    with client.websocket_connect(URL) as socket:
        socket.send_text(first)
        if second is not None:
            assert socket.receive_json()["type"] == "started"
            (socket.send_bytes if isinstance(second, bytes) else socket.send_text)(second)
        found = socket.receive_json()
        assert found["type"] == "error" and found["error"]["message"]
        assert found["error"]["type"] == "invalid_request_error"


def test_over_a_real_socket(taught_server):
    from websockets.sync.client import connect

    samples = spoken()
    address = taught_server.replace("http", "ws") + URL
    with connect(address) as socket:
        socket.send(json.dumps({"type": "start", "sample_rate_hz": 8_000}))
        socket.recv()
        ids = []
        for start in range(0, len(samples), 800):
            socket.send(samples[start : start + 800].tobytes())
        socket.send('{"type": "end"}')
        for text in socket:
            ids += json.loads(text)["ids"]
    whole = dvse.load("tiny").encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids
    assert ids == whole.tolist()


def test_a_silent_client_gives_its_place_back(client, monkeypatch):
    from pipelines.server.routes import realtime

    monkeypatch.setattr(realtime, "_IDLE_S", 0.2)
    for opening in (None, {"type": "start", "sample_rate_hz": 8_000}):
        with client.websocket_connect(URL) as socket:
            if opening is not None:
                socket.send_json(opening)
                assert socket.receive_json()["type"] == "started"
            assert "within 0.2 s" in socket.receive_json()["error"]["message"]
            assert socket.receive()["type"] == "websocket.close"
