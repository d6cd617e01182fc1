"""The endpoints over an app in this process, with a small model: shapes, counts and errors."""

import base64
import json
import re
import time

import pytest
from app_requests import audio, chat, events, image, parts
from fastapi.testclient import TestClient
from taught_model import (
    HELLO_ANSWER,
    PICTURE_ANSWER,
    SOUND_ANSWER,
    WHO,
    WHO_ANSWER,
    WHO_REASONING,
)

from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from pipelines.server.app import create_app
from pipelines.server.settings import ServerSettings


def test_models(client):
    listed = client.get("/v1/models").json()
    assert [m["id"] for m in listed["data"]] == ["m", "alias"] and listed["object"] == "list"
    assert client.get("/v1/models/alias").json() == listed["data"][1]
    assert client.get("/v1/models/none").status_code == 404


def test_an_answer_and_its_exact_usage(client):
    found = chat(client, WHO).json()
    assert found["choices"][0]["message"] == {
        "role": "assistant",
        "content": WHO_ANSWER,
        "refusal": None,
    }
    assert found["choices"][0]["finish_reason"] == "stop"
    import dvse
    from dvse.chat import render

    tokenizer = dvse.load("tiny")
    row = render([{"role": "user", "content": WHO}], add_generation_prompt=True).items
    usage = found["usage"]
    assert usage["prompt_tokens"] == len(tokenizer.encode(list(row)))
    assert usage["completion_tokens"] == len(tokenizer.text.encode(WHO_ANSWER))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_media_are_counted(client, picture, sound):
    found = chat(client, parts(image(picture), {"type": "text", "text": "What is this?"})).json()
    assert found["choices"][0]["message"]["content"] == PICTURE_ANSWER
    details = found["usage"]["prompt_tokens_details"]
    assert details["image_tokens"] == 64 + 4 and details["audio_tokens"] == 0
    found = chat(client, parts(audio(sound), {"type": "text", "text": "What was said?"})).json()
    assert found["choices"][0]["message"]["content"] == SOUND_ANSWER
    details = found["usage"]["prompt_tokens_details"]
    assert details["audio_tokens"] > 2 and details["image_tokens"] == 0
    assert (
        sum(details[f"{kind}_tokens"] for kind in ("image", "audio", "text"))
        == (found["usage"]["prompt_tokens"])
    )


def test_thinking_is_returned_only_where_it_is_asked_for(client):
    shown = chat(client, WHO, enable_thinking=True, return_reasoning=True).json()
    assert shown["choices"][0]["message"]["reasoning_content"] == WHO_REASONING
    assert shown["choices"][0]["message"]["content"] == WHO_ANSWER
    hidden = chat(client, WHO, enable_thinking=True).json()
    assert "reasoning_content" not in hidden["choices"][0]["message"]
    assert hidden["choices"][0]["message"]["content"] == WHO_ANSWER
    assert hidden["usage"] == shown["usage"]
    assert shown["usage"]["completion_tokens_details"]["reasoning_tokens"] > 2


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = chat(client, WHO, enable_thinking=True, return_reasoning=True).json()
    stream = chat(
        client,
        WHO,
        enable_thinking=True,
        return_reasoning=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert stream.headers["content-type"].startswith("text/event-stream")
    chunks = events(stream)
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]
    assert deltas[0]["role"] == "assistant"
    message = whole["choices"][0]["message"]
    assert "".join(d.get("content", "") for d in deltas) == message["content"]
    thought = "".join(d.get("reasoning_content", "") for d in deltas)
    assert thought == message["reasoning_content"]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]][-1] == "stop"
    hidden = events(chat(client, WHO, enable_thinking=True, stream=True))
    assert not any("reasoning_content" in c["choices"][0]["delta"] for c in hidden)


def test_stop_and_max_tokens(client):
    found = chat(client, "Hello", stop=["how", "xyz"]).json()["choices"][0]
    assert (found["message"]["content"], found["finish_reason"]) == (
        HELLO_ANSWER.split("how")[0],
        "stop",
    )
    found = chat(client, "Hello", max_tokens=2).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 2


def test_n_answers_each_with_its_seed(client):
    fields = {"n": 3, "temperature": 2.0, "seed": 3, "max_tokens": 8}
    first = [c["message"]["content"] for c in chat(client, "abc", **fields).json()["choices"]]
    again = [c["message"]["content"] for c in chat(client, "abc", **fields).json()["choices"]]
    assert first == again and len(first) == 3
    chunks = events(chat(client, "abc", stream=True, **fields))
    streamed = ["", "", ""]
    for chunk in chunks:
        choice = chunk["choices"][0]
        streamed[choice["index"]] += choice["delta"].get("content", "")
    assert streamed == first


def test_logprobs(client):
    found = chat(client, WHO, logprobs=True, top_logprobs=2).json()["choices"][0]
    entries = found["logprobs"]["content"]
    assert bytes(b for e in entries for b in e["bytes"]).decode() == WHO_ANSWER
    for entry in entries:
        assert entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0]["logprob"] >= entry["top_logprobs"][1]["logprob"]
    assert chat(client, WHO, top_logprobs=2).status_code == 400


def test_json_where_the_model_would_say_something_else(client):
    schema = {
        "type": "object",
        "properties": {"who": {"enum": ["DVSE", "nobody"]}},
        "required": ["who"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "who", "schema": schema}}
    found = chat(client, WHO, response_format=form).json()["choices"][0]["message"]["content"]
    assert json.loads(found)["who"] in ("DVSE", "nobody")
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    assert chat(client, WHO, response_format=bad).status_code == 400


def test_the_plain_endpoint(client, picture, sound):
    data = base64.b64encode(picture).decode()
    body = {"model": "m", "temperature": 0, "inputs": [{"type": "image", "data": data}]}
    found = client.post("/v1/multimodal/completions", json=body).json()
    assert found["choices"][0]["text"] == PICTURE_ANSWER
    assert found["usage"]["prompt_tokens_details"]["image_tokens"] == 68
    body["inputs"] = [{"type": "audio", "data": base64.b64encode(sound).decode()}]
    assert client.post("/v1/multimodal/completions", json=body).json()["choices"][0]["text"] == (
        SOUND_ANSWER
    )
    chunks = events(client.post("/v1/multimodal/completions", json=body | {"stream": True}))
    assert "".join(c["choices"][0]["text"] for c in chunks) == SOUND_ANSWER


def test_tokens_and_back(client, picture, sound):
    inputs = [
        {"type": "text", "text": "Hi <|user|> 三"},
        {"type": "image", "data": base64.b64encode(picture).decode()},
        {"type": "audio", "data": base64.b64encode(sound).decode()},
    ]
    found = client.post("/v1/tokenize", json={"model": "m", "inputs": inputs}).json()
    text, image_item, audio_item = found["items"]
    assert [i["modality"] for i in found["items"]] == ["text", "image", "audio"]
    assert (text["start"], audio_item["stop"]) == (0, len(found["ids"]))
    assert image_item["grid"] == [8, 8] and len(image_item["codes"]) == 64
    num_codes = Bundle.open(find_bundle("tiny")).vocabulary.num_codes("image")
    assert image_item["num_codes"] == num_codes and audio_item["frame_rate_hz"] > 0
    assert audio_item["duration_s"] == pytest.approx(0.5)
    body = {"ids": found["ids"], "render": True}
    back = client.post("/v1/detokenize", json=body).json()
    assert back["text"] == "Hi <|user|> 三"
    assert [i["modality"] for i in back["items"]] == ["text", "image", "audio"]
    assert back["items"][1]["codes"] == image_item["codes"]
    assert base64.b64decode(back["items"][1]["png"]).startswith(b"\x89PNG")
    assert client.post("/v1/detokenize", json={"ids": [10**6]}).status_code == 400


def test_transcription(client, sound):
    def post(**data):
        files = {"file": ("a.wav", sound, "audio/wav")}
        return client.post("/v1/audio/transcriptions", files=files, data={"model": "m", **data})

    found = post().json()
    assert found["text"] == SOUND_ANSWER and found["usage"]["input_token_details"]["audio_tokens"]
    assert post(response_format="text").text == SOUND_ANSWER + "\n"
    assert post(response_format="verbose_json").json()["duration"] == pytest.approx(0.5)
    assert post(model="none").status_code == 404


def test_equal_media_are_encoded_once(client, picture):
    encoder = client.app.state.shelf.loaded[0].encoder
    chat(client, parts(image(picture)))
    before = encoder.num_hits
    chat(client, parts(image(picture), {"type": "text", "text": "And now?"}))
    assert encoder.num_hits == before + 1


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "none"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "Hello"}, 400, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages.0.role"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"n": 1.5}, 400, "n"),
        ({"frequency_penalty": 2.5}, 400, "frequency_penalty"),
        ({"web_search_options": {}}, 400, "web_search_options"),
        ({"use_beam_search": True}, 400, "use_beam_search"),
        ({"modalities": ["text", "audio"]}, 400, "modalities.1"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"logit_bias": {"a": 1}}, 400, "logit_bias.a"),
        ({"logit_bias": {"999999999": 1}}, 400, "logit_bias"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            400,
            "messages.0.content.0.text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages.0.content.0.image_url.url",
        ),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, None),
        ({"messages": [{"role": "user", "content": "long " * 5000}]}, 400, "messages"),
    ],
)
def test_errors_have_openais_shape(client, change, status, param):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **change}
    data = json.dumps(body).encode()
    response = client.post(
        "/v1/chat/completions", content=data, headers={"Content-Type": "application/json"}
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), error
    assert error["type"] == "invalid_request_error"
    assert 0 < len(error["message"]) <= 500 and "Traceback" not in error["message"]


def test_the_state_of_things(client):
    assert client.get("/health").json() == {"status": "ok"}
    chat(client, "Hello")
    text = client.get("/metrics").text
    deadline = time.monotonic() + 10
    while "dvse_running_answers 0.0" not in text and time.monotonic() < deadline:
        text = client.get("/metrics").text  # an answer leaves the batch just after it is told
    values = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    assert float(values["dvse_completion_tokens_total"]) > 0
    assert float(values["dvse_time_to_first_token_seconds_count"]) > 0
    assert float(values["dvse_running_answers"]) == 0
    path = 'dvse_requests_total{path="/v1/chat/completions",status="200"}'
    assert float(values[path]) > 0


def test_nothing_but_health_answers_while_the_model_loads():
    import threading

    may_load = threading.Event()

    def load():
        may_load.wait(10)
        raise RuntimeError("never mind")

    failures = []
    app = create_app(load, ServerSettings(served_names=("m",)), on_failure=failures.append)
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        response = client.get("/v1/models")
        assert response.status_code == 503 and response.headers["Retry-After"] == "1"
        may_load.set()
        while not failures:
            client.get("/health")
    assert str(failures[0]) == "never mind"


def test_the_page_of_operations_needs_no_network(client):
    page = client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "https://" not in page.text and "http://" not in page.text
