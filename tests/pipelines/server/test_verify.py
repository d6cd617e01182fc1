"""Guesses from elsewhere over HTTP and a socket: the model's own answer comes of them."""

import json

import pytest
from batcher_handle import Remembered

import dvse
from pipelines.answering.prompts import prompt_row
from pipelines.server.batching.batcher import GenerationRequest

URL = "/v1/verify"


@pytest.fixture
def asked(client, picture):
    """A prompt with a picture, and the answer of the model alone."""
    model = client.app.state.shelf.loaded[0].model
    encoding = model.tokenizer.encode(prompt_row([dvse.Image(picture)]))
    ids = encoding.ids.tolist()
    sink = Remembered()
    model.batcher.submit(GenerationRequest(prompt_ids=ids, max_new_tokens=16), sink)
    sink.wait()
    return ids, sink.ids, sink.reason


def test_a_guess_by_post(client, asked):
    ids, answer, _ = asked
    assert len(answer) > 3
    said, wrong = [], (answer[0] + 1) % 100
    for draft, accepted in ((answer[:1], 1), ([answer[2], wrong], 1)):
        body = {"model": "m", "prompt_ids": ids + said, "begun": len(said), "draft_ids": draft}
        found = client.post(URL, json=body).json()
        assert found["num_accepted"] == accepted and len(found["ids"]) == accepted + 1
        said += found["ids"]
        assert said == answer[: len(said)] and found["finish_reason"] is None
    body = {"prompt_ids": ids, "draft_ids": [wrong]}
    assert client.post(URL, json=body).json()["ids"] == answer[:1]
    body = {"prompt_ids": ids}
    assert client.post(URL, json=body).json() == {
        "ids": answer[:1],
        "num_accepted": 0,
        "finish_reason": None,
    }


def comes_free(client):
    """Whether soon nobody holds a place in the batch."""
    batcher = client.app.state.shelf.loaded[0].model.batcher
    for _ in range(500):
        if not batcher.stats().running:
            return True
        client.get("/health")
    return False


@pytest.mark.parametrize("size", [0, 1, 3, 8])
def test_an_answer_over_a_socket(client, asked, size):
    ids, answer, reason = asked
    said, reasons = [], []
    with client.websocket_connect(URL) as socket:
        first = {"prompt_ids": ids, "max_new_tokens": 16, "draft_ids": answer[:size]}
        socket.send_json(first)
        while not reasons:
            found = socket.receive_json()
            said += found["ids"]
            reasons = [found["finish_reason"]] if "finish_reason" in found else []
            if not reasons:
                socket.send_json({"draft_ids": answer[len(said) : len(said) + size]})
    assert (said, reasons) == (answer, [reason])
    assert comes_free(client)


def test_hanging_up_frees_the_place(client, asked):
    ids, _, _ = asked
    batcher = client.app.state.shelf.loaded[0].model.batcher
    with client.websocket_connect(URL) as socket:
        socket.send_json({"prompt_ids": ids})
        socket.receive_json()
        assert batcher.stats().running == 1
    assert comes_free(client)


BAD = [
    ({"prompt_ids": []}, "prompt_ids"),
    ({"prompt_ids": [10**8]}, "prompt_ids"),
    ({"prompt_ids": [-1]}, "prompt_ids"),
    ({"prompt_ids": [1], "draft_ids": [10**8]}, "draft_ids"),
    ({"prompt_ids": [1] * 90_000}, "prompt_ids"),
    ({"prompt_ids": [1], "begun": 2}, "begun"),
    ({"prompt_ids": [1], "fingerprint": "other"}, "fingerprint"),
    ({"prompt_ids": [1], "nonsense": 2}, "nonsense"),
    ({"prompt_ids": [1], "model": "none"}, "model"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
def test_what_is_wrong_is_named(client, body, field):
    found = client.post(URL, json=body)
    assert found.status_code in (400, 404)
    assert found.json()["error"]["param"].startswith(field)
    with client.websocket_connect(URL) as socket:
        socket.send_json(body)
        assert socket.receive_json()["error"]["param"].startswith(field)


def test_messages_that_are_no_guesses(client, asked):
    ids, _, _ = asked
    for first, second in (
        (b"x", None),
        ("{", None),
        (None, "[]"),
        (None, json.dumps({"ids": [1]})),
    ):
        with client.websocket_connect(URL) as socket:
            if first is None:
                socket.send_json({"prompt_ids": ids})
                socket.receive_json()
            message = first if second is None else second
            (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
            assert socket.receive_json()["error"]["message"]
