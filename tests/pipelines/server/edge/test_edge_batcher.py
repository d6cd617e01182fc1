"""A small model here and a large one behind a real socket: the answers are the large one's."""

import base64
from dataclasses import replace

import pytest
from app_requests import chat as asked
from batcher_handle import Remembered
from delaying_proxy import delayed
from fastapi.testclient import TestClient

import dvse
from dvse.errors import ConfigError
from pipelines.answering.prompts import prompt_row
from pipelines.server.app import create_app
from pipelines.server.batching.batcher import GenerationRequest
from pipelines.server.edge.cloud import Cloud
from pipelines.server.edge.edge_batcher import EdgeBatcher
from pipelines.server.edge.loading import load_edge
from pipelines.server.edge.settings import EdgeSettings
from pipelines.server.loading import load_served
from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings

LIMITS = BatchingLimits(max_concurrency=8, cache_gib=0.05)
SERVER = ServerSettings(loading=LoadingConfig(limits=LIMITS), served_names=("m",))


def chat(client, content, **fields):
    return asked(client, [{"role": "user", "content": content}], **fields)


def settings(address, **fields):
    return EdgeSettings(cloud=address, server=SERVER, cloud_timeout_s=20.0, **fields)


def running(model):
    return TestClient(create_app(model, SERVER), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def edge(taught_server):
    """An edge server of `tiny` before the taught model, and the line between them."""
    with delayed(taught_server) as proxy:
        model = load_edge(settings(proxy.address, cloud_pause_s=0.0))
        with running(model) as client:
            while client.get("/ready").status_code != 200:
                pass
            client.proxy, client.batcher = proxy, model.batcher
            yield client


@pytest.fixture(scope="module")
def alone():
    """The small model by itself."""
    with running(load_served(SERVER.loading)) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client


def questions(picture, sound):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    heard = {"data": base64.b64encode(sound).decode(), "format": "wav"}
    return [
        ("Hello", {}),
        ("你是谁?", {"enable_thinking": True, "return_reasoning": True}),
        ("Hello", {"temperature": 0.8, "seed": 11, "max_tokens": 9}),
        (
            [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "What is this?"},
            ],
            {},
        ),
        (
            [
                {"type": "input_audio", "input_audio": heard},
                {"type": "text", "text": "What was said?"},
            ],
            {},
        ),
        ("Hello", {"stop": "how", "max_tokens": 30}),
    ]


def test_answers_are_those_of_the_large_model(edge, client, picture, sound):
    for content, fields in questions(picture, sound):
        fields = {"temperature": 0, **fields}
        expected = chat(client, content, **fields).json()
        found = chat(edge, content, **fields).json()
        assert found["choices"] == expected["choices"]
        assert found["usage"]["completion_tokens"] == expected["usage"]["completion_tokens"]


def test_only_ids_travel(edge, picture):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    before = len(edge.proxy.sent)
    chat(edge, content, temperature=0)
    sent = bytes(edge.proxy.sent[before:])
    assert b"image" not in sent and picture[:20] not in sent
    assert sent.count(b"GET /v1/verify") == 1


def test_what_is_not_sent_is_answered_here(edge, alone):
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["a", "b"]}}}
    for fields in ({"response_format": schema}, {"logprobs": True, "max_tokens": 4}):
        before = len(edge.proxy.sent)
        found = chat(edge, "Hello", temperature=0, **fields).json()
        assert found["choices"] == chat(alone, "Hello", temperature=0, **fields).json()["choices"]
        assert len(edge.proxy.sent) == before


def test_without_a_link_the_small_model_answers(alone, picture, sound):
    model = load_edge(settings("http://127.0.0.1:9"))  # nobody listens there
    with running(model) as edge:
        while edge.get("/ready").status_code != 200:
            pass
        for content, fields in questions(picture, sound):
            fields = {"temperature": 0, **fields}
            found = chat(edge, content, **fields).json()
            assert found["choices"] == chat(alone, content, **fields).json()["choices"]


def test_a_link_that_breaks_costs_no_answer(taught_server, client, alone):
    large = client.app.state.shelf.loaded[0].model
    small = alone.app.state.shelf.loaded[0].model
    row = prompt_row([dvse.Text("Hello")])
    request = GenerationRequest(
        prompt_ids=small.tokenizer.encode(row).ids.tolist(), max_new_tokens=12
    )
    sink = Remembered()
    large.batcher.submit(request, sink)
    expected = sink.wait().ids
    seen = set()
    for most in (50, 250, 300, 350, 400, 2000):
        with delayed(taught_server) as proxy:
            proxy.cut_after = most
            cloud = Cloud(settings(proxy.address), small.tokenizer.fingerprint)
            edge = EdgeBatcher(small.batcher, cloud, num_guessed=1, most=2)
            sink = Remembered()
            edge.submit(request, sink)
            sink.wait()
        assert sink.error is None and sink.reason in ("stop", "length")
        common = 0
        while sink.ids[common : common + 1] == expected[common : common + 1] != []:
            common += 1
        seen.add(common)
        # what was said after the break is the small model's, word for word
        begun = replace(request, prompt_ids=[*request.prompt_ids, *sink.ids[:common]], begun=common)
        rest = Remembered()
        small.batcher.submit(replace(begun, max_new_tokens=12 - common), rest)
        if sink.ids != expected:
            assert sink.ids[common:] == rest.wait().ids
    assert len(seen) > 2 and max(seen) == len(expected)  # cut at the start, in between, not at all


def test_who_hangs_up_frees_both_models(edge):
    with edge.stream(
        "POST",
        "/v1/chat/completions",
        json={
            "model": "m",
            "stream": True,
            "max_tokens": 400,
            "messages": [{"role": "user", "content": "Hello"}],
        },
    ) as answer:
        next(answer.iter_lines())
    for _ in range(500):
        if not edge.batcher._answers and not edge.batcher.stats().running:
            break
        edge.get("/health")
    assert not edge.batcher._answers and not edge.batcher.stats().running


def test_a_server_that_does_not_fit_is_refused_at_the_start(taught_server):
    with pytest.raises(ConfigError, match="fingerprint"):
        Cloud(settings(taught_server), "0" * 64).check()
    with pytest.raises(ConfigError, match="no-such"):
        load_edge(settings(taught_server, cloud_model="no-such"))
    with pytest.raises(ConfigError, match=r"40[34]"):
        load_edge(settings(taught_server + "/nowhere"))
    for wrong in ({"cloud": "ftp://x"}, {"cloud": ""}, {"cloud": "http://x", "guess": 0}):
        with pytest.raises(ConfigError, match="expected"):
            EdgeSettings(**wrong)
