"""What clients send beside the question: taken where it changes nothing, else refused by name."""

import base64
import re

import pytest
from app_requests import audio, chat, events, image, parts
from taught_model import PICTURE_ANSWER, SOUND_ANSWER, WHO, WHO_ANSWER, WHO_REASONING


def content(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


HARMLESS = [
    {"tools": []},
    {"tool_choice": "none"},
    {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    {"logit_bias": {}},
    {"modalities": ["text"]},
    {"repetition_penalty": 1.0, "length_penalty": 1, "min_p": 0, "top_k": -1},
    {"frequency_penalty": 0, "presence_penalty": 0.0, "top_p": 1},
    {"reasoning_effort": "none"},
    {"reasoning_effort": "minimal", "verbosity": "low"},
    {"prompt_cache_key": "a", "safety_identifier": "b", "user": "c", "service_tier": "flex"},
    {"metadata": {"a": "b"}, "store": True, "prediction": {"type": "content", "content": "x"}},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"thinking": {"type": "disabled"}},
    {"stop": [], "stop_token_ids": [], "ignore_eos": False, "skip_special_tokens": True},
    {"functions": [], "function_call": "auto"},
    {"best_of": 1, "use_beam_search": False, "min_tokens": 0},
    {"response_format": {"type": "text"}, "top_logprobs": 0, "logprobs": False},
]


@pytest.mark.parametrize("fields", HARMLESS, ids=lambda f: "+".join(f))
def test_what_changes_nothing_is_taken(client, fields):
    assert content(chat(client, WHO, **fields)) == WHO_ANSWER


def test_null_says_nothing_wherever_it_stands(client):
    names = client.get("/openapi.json").json()["components"]["schemas"]["ChatRequest"]
    fields = {n: None for n in names["properties"] if n not in ("model", "messages", "temperature")}
    assert content(chat(client, WHO, **fields, audio=None, web_search_options=None)) == WHO_ANSWER
    message = {"role": "user", "content": WHO, "name": None, "tool_calls": None, "audio": None}
    assert content(chat(client, [message])) == WHO_ANSWER
    part = {"type": "text", "text": WHO, "image_url": None}
    assert content(chat(client, parts(part))) == WHO_ANSWER
    assert chat(client, WHO, messages=None).json()["error"]["param"] == "messages"


def test_an_answer_can_be_appended_as_it_came(client):
    answer = chat(client, WHO).json()["choices"][0]["message"]
    answer |= {"annotations": [], "audio": None, "function_call": None, "provider": {"x": 1}}
    messages = [{"role": "user", "content": WHO}, answer, {"role": "user", "content": WHO}]
    assert chat(client, messages, max_tokens=2).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"enable_thinking": True},
        {"reasoning_effort": "low"},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"thinking": True}},
        {"thinking": {"type": "enabled"}},
        {"enable_thinking": True, "reasoning_effort": "none"},
    ],
    ids=str,
)
def test_every_way_to_let_it_think(client, fields):
    message = chat(client, WHO, return_reasoning=True, **fields).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == (WHO_REASONING, WHO_ANSWER)


def test_the_articles_listing_is_taken(client):
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": WHO}],
        "temperature": 0.5,
        "stream": True,
        "enable_thinking": True,
        "return_reasoning": True,
    }
    chunks = events(client.post("/v1/chat/completions", json=body))
    words = [c["choices"][0]["delta"].get("content", "") for c in chunks]
    assert "".join(words) == WHO_ANSWER


def test_guided_json_is_a_schema(client):
    schema = {"enum": ["DVSE", "nobody"]}
    assert content(chat(client, WHO, guided_json=schema)) in ('"DVSE"', '"nobody"')
    assert content(chat(client, WHO, guided_json='{"const": 7}')) == "7"
    error = chat(client, WHO, guided_json="[").json()["error"]
    assert error["param"] == "guided_json"


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_schema_that_cannot_end_is_the_clients_fault(client, temperature):
    schema = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for stream in (False, True):
        found = chat(client, WHO, response_format=form, temperature=temperature, stream=stream)
        assert found.status_code == 400 and "nothing that ends" in found.json()["error"]["message"]


def test_penalties_and_bias_change_the_answer(client):
    plain = chat(client, WHO, logprobs=True, max_tokens=1).json()["choices"][0]
    first = plain["logprobs"]["content"][0]["bytes"]
    text = client.app.state.shelf.loaded[0].model.tokenizer.text
    wanted = next(i for i in range(text.size) if list(text.piece_bytes(i)) == first)
    banned = chat(client, WHO, logprobs=True, max_tokens=1, logit_bias={str(wanted): -100})
    assert banned.json()["choices"][0]["logprobs"]["content"][0]["bytes"] != first
    loud = chat(client, "Hello", presence_penalty=2.0, frequency_penalty=2.0)
    assert loud.status_code == 200
    assert content(chat(client, WHO, temperature=2.0, top_k=1)) == WHO_ANSWER
    assert content(chat(client, WHO, temperature=2.0, min_p=1.0)) == WHO_ANSWER


def wrapped(data):
    return base64.encodebytes(data).decode()


@pytest.mark.parametrize(
    "url",
    [
        lambda data: "data:image/png;base64," + wrapped(data),
        lambda data: "DATA:IMAGE/PNG;BASE64," + base64.b64encode(data).decode().rstrip("="),
        lambda data: "data:;base64," + base64.urlsafe_b64encode(data).decode(),
        lambda data: "data:image/png;name=a.png;base64," + base64.b64encode(data).decode(),
    ],
)
def test_data_urls_as_clients_write_them(client, picture, url):
    shown = {"type": "image_url", "image_url": {"url": url(picture)}}
    question = {"type": "text", "text": "What is this?"}
    assert content(chat(client, parts(shown, question))) == PICTURE_ANSWER


def test_bare_base64_as_clients_write_it(client, picture, sound):
    data = base64.b64encode(sound).decode()
    question = {"type": "text", "text": "What was said?"}
    for written in (wrapped(sound), data.rstrip("="), "data:audio/wav;base64," + data):
        heard = {"type": "input_audio", "input_audio": {"data": written, "format": "webm"}}
        assert content(chat(client, parts(heard, question))) == SOUND_ANSWER
        url = {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64," + data}}
        assert content(chat(client, parts(url, question))) == SOUND_ANSWER
    for written in (wrapped(picture), "data:image/png;base64," + wrapped(picture)):
        body = {"model": "m", "temperature": 0, "inputs": [{"type": "image", "data": written}]}
        found = client.post("/v1/multimodal/completions", json=body).json()
        assert found["choices"][0]["text"] == PICTURE_ANSWER


def test_the_kind_of_body_is_named(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": kind}
        found = client.post("/v1/chat/completions", content=b'{"a": 1}', headers=headers)
        assert found.status_code == 415
        assert "application/json" in found.json()["error"]["message"]
    assert client.post("/v1/audio/transcriptions", json={"model": "m"}).status_code == 415


def test_json_errors_say_where(client):
    data = b'{\n  "model": "m",\n  "messages": [,]\n}'
    headers = {"Content-Type": "application/json"}
    error = client.post("/v1/chat/completions", content=data, headers=headers).json()["error"]
    assert "line 3, column 16" in error["message"]


def test_too_long_is_said_before_anything_is_encoded(client, picture, monkeypatch):
    import io
    import time

    import numpy as np
    import soundfile

    encoder = client.app.state.shelf.loaded[0].encoder

    def never(*args):
        raise AssertionError("nothing is to be encoded")

    monkeypatch.setattr(encoder, "_encode", never)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000 * 200, np.int16), 16_000, format="WAV")
    long_sound = {"type": "input_audio", "input_audio": audio(file.getvalue())["input_audio"]}
    for shown in ([long_sound], [image(picture)] * 200, [{"type": "text", "text": "x" * 10**6}]):
        started = time.perf_counter()
        error = chat(client, parts(*shown)).json()["error"]
        assert error["code"] == "context_length_exceeded" and "at least" in error["message"]
        assert time.perf_counter() - started < 5


@pytest.mark.parametrize("strength", [5e-324, 1e-9, 0.0, -1.0, 10.1, float("1e308")])
def test_a_repetition_penalty_that_no_score_survives_is_refused(client, strength):
    found = chat(client, "Hello", repetition_penalty=strength)
    assert found.status_code == 400 and found.json()["error"]["param"] == "repetition_penalty"
    assert chat(client, "Hello", repetition_penalty=0.01, max_tokens=2).status_code == 200
    assert chat(client, "Hello").status_code == 200


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_choice": ["yes", 'a "no"']}, r'yes|a "no"'),
        ({"guided_regex": r"[a-f]{3}/\d\/\n?x"}, r"[a-f]{3}/\d/\n?x"),
        ({"structured_outputs": {"choice": ["Graz"]}}, "Graz"),
        ({"structured_outputs": {"regex": "(ab|c){2}"}}, "(ab|c){2}"),
        (
            {"structured_outputs": {"json": {"type": "integer", "minimum": 7, "maximum": 9}}},
            "[789]",
        ),
    ],
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_vllms_forms_hold(client, fields, pattern, temperature):
    found = content(chat(client, WHO, temperature=temperature, max_tokens=60, **fields))
    assert re.fullmatch(pattern, found), found


def test_a_form_is_one_form(client):
    both = {"structured_outputs": {"choice": ["a"], "regex": "a"}}
    assert "exactly one of" in chat(client, WHO, **both).json()["error"]["message"]
    assert chat(client, WHO, guided_regex="(").json()["error"]["code"] == "invalid_input"


def test_include_reasoning_is_return_reasoning(client):
    asked = {"enable_thinking": True, "temperature": 0}
    found = chat(client, WHO, include_reasoning=True, **asked).json()["choices"][0]["message"]
    assert found["reasoning_content"] == WHO_REASONING
    found = chat(client, WHO, include_reasoning=False, **asked).json()["choices"][0]["message"]
    assert "reasoning_content" not in found


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({"foo": "bar"}, "foo"),
        ({"include[]": "logprobs"}, "include[]"),
        ({"stream": "true", "response_format": "srt"}, "response_format"),
    ],
)
def test_forms_refuse_what_they_cannot_honour(client, sound, data, param):
    files = {"file": ("a.wav", sound)}
    found = client.post("/v1/audio/transcriptions", files=files, data={"model": "m", **data})
    assert found.status_code == 400 and found.json()["error"]["param"] == param


def test_forms_take_hints_and_either_spelling(client, sound):
    data = {"model": "m", "chunking_strategy": "auto", "user": "x", "language": ""}
    data |= {"response_format": "verbose_json", "timestamp_granularities": "word"}
    found = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound)}, data=data)
    assert found.status_code == 200 and found.json()["words"], found.text


def test_what_is_missing_is_said(client):
    kind = {"Content-Type": "application/json"}
    empty = client.post("/v1/chat/completions", content=b"", headers=kind)
    assert empty.json()["error"]["message"] == "expected a body of JSON"
    wrong = client.get("/v1/chat/completions")
    assert wrong.status_code == 405 and wrong.json()["error"]["message"] == "expected POST here"
    text = client.post("/v1/audio/transcriptions", data={"model": "m"}, files={"x": b""})
    assert text.status_code == 400 and text.json()["error"]["param"] == "file"
