"""Tools, completions, embeddings, responses, timed transcriptions and the plain methods of HTTP."""

import base64
import json

import numpy as np
import pytest
from app_requests import chat, events
from taught_model import HELLO_ANSWER, SOUND_ANSWER, WHO, WHO_ANSWER, WHO_REASONING

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Graz", "Wien"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
NAMED = {"type": "function", "function": {"name": "weather"}}


def test_a_call_that_is_required_comes_and_fits(client):
    choice = chat(client, WHO, tools=TOOLS, tool_choice=NAMED, max_tokens=60).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    for call in choice["message"]["tool_calls"]:
        assert call["type"] == "function" and call["function"]["name"] == "weather"
        assert json.loads(call["function"]["arguments"])["city"] in ("Graz", "Wien")


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_streamed_call_is_the_whole_one(client, temperature):
    fields = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 80, "seed": 3}
    fields |= {"parallel_tool_calls": False, "temperature": temperature}
    whole = chat(client, WHO, **fields).json()["choices"][0]
    name, arguments, reason = None, "", None
    for chunk in events(chat(client, WHO, stream=True, **fields)):
        (choice,) = chunk["choices"]
        reason = choice["finish_reason"] or reason
        for piece in choice["delta"].get("tool_calls", []):
            assert piece["index"] == 0
            name = piece["function"].get("name", name)
            arguments += piece["function"]["arguments"]
    (call,) = whole["message"]["tool_calls"]
    assert (name, arguments, reason) == (*call["function"].values(), "tool_calls")


def test_without_a_need_to_call_text_may_come(client):
    choice = chat(client, WHO, tools=TOOLS, max_tokens=20).json()["choices"][0]
    assert choice["message"].get("tool_calls") or isinstance(choice["message"]["content"], str)
    untold = chat(client, WHO, tools=TOOLS, tool_choice="none").json()["choices"][0]
    assert untold["message"]["content"] == WHO_ANSWER
    error = chat(client, WHO, tools=TOOLS, tool_choice={**NAMED, "function": {"name": "x"}})
    assert error.json()["error"]["param"] == "tool_choice"


def test_a_conversation_with_calls_and_results_goes_on(client):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": WHO},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    found = chat(client, messages, tools=TOOLS, max_tokens=3)
    assert found.status_code == 200
    serving = client.app.state.shelf.loaded[0]
    from pipelines.server.answers.conversation import conversation_row
    from pipelines.server.schemas.chat import ChatRequest

    row = conversation_row(ChatRequest(model="m", messages=messages), serving)
    written = "".join(
        getattr(item, "text", item.name if hasattr(item, "name") else "") for item in row
    )
    assert '<tool_call>{"name": "weather", "arguments": {}}</tool_call><|observation|>' in written


def complete(client, prompt, **fields):
    body = {"model": "m", "prompt": prompt, "temperature": 0, **fields}
    return client.post("/v1/completions", json=body)


def test_completions(client):
    found = complete(client, ["a", "b"], n=2, max_tokens=3, logprobs=1, echo=True).json()
    assert [c["index"] for c in found["choices"]] == [0, 1, 2, 3]
    assert all(c["text"].startswith(p) for c, p in zip(found["choices"], "aabb", strict=True))
    lengths = [len(choice["logprobs"]["tokens"]) for choice in found["choices"]]
    assert found["usage"]["completion_tokens"] == sum(lengths) and max(lengths) <= 3
    text = client.app.state.shelf.loaded[0].model.tokenizer.text
    ids = text.encode("Hello").tolist()
    by_id = complete(client, ids, max_tokens=3).json()["choices"][0]["text"]
    assert by_id == complete(client, "Hello", max_tokens=3).json()["choices"][0]["text"]
    assert len(complete(client, "Hello").json()["choices"][0]["text"]) > 0
    assert complete(client, [10**6]).json()["error"]["param"] == "prompt"


def test_completions_streamed_are_the_whole_ones(client):
    whole = complete(client, ["a", "b"], max_tokens=5).json()
    texts = ["", ""]
    options = {"include_usage": True}
    chunks = events(complete(client, ["a", "b"], max_tokens=5, stream=True, stream_options=options))
    for chunk in chunks[:-1]:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [c["text"] for c in whole["choices"]]
    assert chunks[-1]["usage"] == whole["usage"]


def embed(client, given, **fields):
    return client.post("/v1/embeddings", json={"model": "m", "input": given, **fields})


def test_embeddings_are_the_pooled_states_of_the_model(client, taught_model, picture, sound):
    from dvse.items import Audio, Image, Text
    from pipelines.answering.model_directory import load_model
    from pipelines.evaluation.pooled_states import pooled_states

    media = [
        {"type": "text", "text": "a house " * 60},
        {"type": "image", "data": base64.b64encode(picture).decode()},
        {"type": "audio", "data": base64.b64encode(sound).decode()},
    ]
    found = embed(client, media).json()
    states = pooled_states(
        load_model(str(taught_model)), [Text("a house " * 60), Image(picture), Audio(sound)]
    )
    expected = states / np.linalg.norm(states, axis=1, keepdims=True)
    vectors = [entry["embedding"] for entry in found["data"]]
    np.testing.assert_allclose(vectors, expected, atol=2e-5)
    assert [entry["index"] for entry in found["data"]] == [0, 1, 2]
    assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > 68


def test_embeddings_in_every_form(client):
    one = embed(client, "Hello").json()["data"][0]["embedding"]
    assert embed(client, ["Hello", "x"]).json()["data"][0]["embedding"] == one
    packed = embed(client, "Hello", encoding_format="base64").json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == pytest.approx(one)
    ids = client.app.state.shelf.loaded[0].model.tokenizer.text.encode("Hello").tolist()
    assert embed(client, ids).json()["data"][0]["embedding"] == pytest.approx(one)
    assert embed(client, [ids, ids]).json()["data"][1]["embedding"] == pytest.approx(one)
    assert embed(client, "Hello", dimensions=len(one)).status_code == 200
    assert embed(client, "Hello", dimensions=3).json()["error"]["param"] == "dimensions"
    for bad in ("", [], [10**6], "x" * 10**6, [5, "a"]):
        assert embed(client, bad).status_code == 400


def respond(client, given, **fields):
    body = {"model": "m", "input": given, "temperature": 0, **fields}
    return client.post("/v1/responses", json=body)


def test_responses(client):
    found = respond(client, WHO).json()
    assert found["object"] == "response" and found["status"] == "completed"
    (item,) = found["output"]
    assert item["content"][0]["text"] == WHO_ANSWER
    thought = respond(client, WHO, reasoning={"effort": "low"}).json()["output"]
    assert [i["type"] for i in thought] == ["reasoning", "message"]
    assert thought[0]["content"][0]["text"] == WHO_REASONING
    again = respond(
        client, [{"role": "user", "content": WHO}, *thought, {"role": "user", "content": "x"}]
    )
    assert again.status_code == 200
    cut = respond(client, "Hello", max_output_tokens=2).json()
    assert (cut["status"], cut["incomplete_details"]["reason"]) == (
        "incomplete",
        "max_output_tokens",
    )
    schema = {"type": "json_schema", "name": "x", "schema": {"const": 7}}
    found = respond(client, WHO, text={"format": schema}).json()
    assert found["output"][0]["content"][0]["text"] == "7"
    for field, value in (("previous_response_id", "resp_1"), ("background", True)):
        assert respond(client, WHO, **{field: value}).json()["error"]["param"] == field


def typed_events(response):
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_streamed_responses_are_the_whole_ones(client):
    fields = {"reasoning": {"effort": "low"}}
    whole = respond(client, WHO, **fields).json()
    found = typed_events(respond(client, WHO, stream=True, **fields))
    assert [e["sequence_number"] for e in found] == list(range(len(found)))
    kinds = [e["type"] for e in found]
    assert kinds[:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert kinds[-1] == "response.completed"
    text = "".join(e["delta"] for e in found if e["type"] == "response.output_text.delta")
    assert text == WHO_ANSWER
    assert found[-1]["response"]["usage"] == whole["usage"]
    done = [e["item"] for e in found if e["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"]


def test_calls_in_responses(client):
    tools = [{"type": "function", "name": "weather", "parameters": CITY}]
    fields = {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    found = typed_events(respond(client, WHO, stream=True, **fields))
    (item,) = found[-1]["response"]["output"]
    assert item["type"] == "function_call" and item["name"] == "weather"
    assert json.loads(item["arguments"])["city"] in ("Graz", "Wien")
    kind = "response.function_call_arguments.delta"
    assert "".join(e["delta"] for e in found if e["type"] == kind) == item["arguments"]
    output = {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
    given = [{"role": "user", "content": WHO}, item, output]
    assert respond(client, given, max_output_tokens=2).status_code == 200


def transcribe(client, sound, **data):
    files = {"file": ("a.wav", sound, "audio/wav")}
    return client.post("/v1/audio/transcriptions", files=files, data={"model": "m", **data})


def test_timed_transcriptions(client, sound):
    times = {"timestamp_granularities[]": ["segment", "word"]}
    verbose = transcribe(client, sound, response_format="verbose_json", **times).json()
    (segment,), (word,) = verbose["segments"], verbose["words"]
    assert segment["text"] == SOUND_ANSWER == word["word"]
    # A steady tone is as loud to its last whole frame.
    assert (word["start"], word["end"]) == (segment["start"], segment["end"])
    assert segment["start"] == 0 and segment["end"] <= verbose["duration"]
    assert segment["end"] == pytest.approx(verbose["duration"], abs=0.03)
    assert segment["avg_logprob"] <= 0
    end = f"00:00:00,{round(segment['end'] * 1000):03}"
    srt = transcribe(client, sound, response_format="srt").text
    assert srt == f"1\n00:00:00,000 --> {end}\n{SOUND_ANSWER}\n\n"
    vtt = transcribe(client, sound, response_format="vtt")
    assert (
        vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> ")
        and "text/vtt" in vtt.headers["content-type"]
    )


def test_streamed_transcriptions(client, sound):
    found = transcribe(client, sound, stream="true")
    entries = [json.loads(b.removeprefix("data: ")) for b in found.text.strip().split("\n\n")]
    assert "".join(e["delta"] for e in entries[:-1]) == SOUND_ANSWER
    assert entries[-1]["type"] == "transcript.text.done" and entries[-1]["text"] == SOUND_ANSWER


def test_translations_are_refused_in_openais_shape(client, sound):
    found = client.post("/v1/audio/translations", files={"file": ("a.wav", sound)})
    assert found.status_code == 400 and "not done here" in found.json()["error"]["message"]


def test_plain_http(client):
    head, got = client.head("/v1/models"), client.get("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert client.head("/v1/nothing").status_code == 404
    options = client.options("/v1/chat/completions")
    assert options.status_code == 204 and options.headers["allow"] == "POST, OPTIONS"
    assert client.options("/v1/models").headers["allow"] == "GET, OPTIONS, HEAD"
    lost = client.get("/v1/chat/completion").json()["error"]
    assert lost["code"] == "unknown_url" and " /v1/chat/completions," in lost["message"]
    wrong = client.get("/v1/chat/completions")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"


def test_requests_have_an_id(client):
    assert (
        client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    )
    first, second = (client.get("/v1/nothing").headers["x-request-id"] for _ in range(2))
    assert first != second and len(first) == 32


def test_refusals_are_counted_by_path_and_kind(client):
    chat(client, "Hello", temperature=9)
    text = client.get("/metrics").text
    assert 'dvse_errors_total{kind="4xx",path="/v1/chat/completions"}' in text


def test_a_hello_still_goes(client):
    assert chat(client, "Hello").json()["choices"][0]["message"]["content"] == HELLO_ANSWER
