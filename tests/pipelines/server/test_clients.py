"""Real clients against a real server: openai, LangChain and curl."""

import asyncio
import base64
import json
import shutil
import subprocess
from typing import Literal

import pydantic
import pytest
from taught_model import (
    HELLO_ANSWER,
    PICTURE_ANSWER,
    SOUND_ANSWER,
    WHO,
    WHO_ANSWER,
    WHO_REASONING,
)
from tones import tone

openai = pytest.importorskip("openai")
MODEL = "autoglm-phone-9b"


@pytest.fixture(scope="module")
def client(taught_server):
    with openai.OpenAI(base_url=f"{taught_server}/v1", api_key="EMPTY") as client:
        yield client


def data_url(picture):
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def ask(client, content, **fields):
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(
        model=MODEL, messages=messages, **{"temperature": 0, **fields}
    )


def test_models(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "dvse"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_openai_text_stream_and_reasoning(client):
    whole = ask(client, WHO)
    assert whole.choices[0].message.content == WHO_ANSWER
    fields = {"enable_thinking": True, "return_reasoning": True}
    thought = ask(client, WHO, extra_body=fields)
    assert thought.choices[0].message.reasoning_content == WHO_REASONING
    assert thought.usage.completion_tokens_details.reasoning_tokens > 0
    text, reasoning, usage = "", "", None
    options = {"include_usage": True}
    for chunk in ask(client, WHO, stream=True, stream_options=options, extra_body=fields):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
    assert (text, reasoning) == (WHO_ANSWER, WHO_REASONING)
    assert usage == thought.usage


def test_openai_picture_and_recording(client, picture, sound):
    shown = [
        {"type": "image_url", "image_url": {"url": data_url(picture)}},
        {"type": "text", "text": "What is this?"},
    ]
    found = ask(client, shown)
    assert found.choices[0].message.content == PICTURE_ANSWER
    heard = {"data": base64.b64encode(sound).decode(), "format": "wav"}
    said = [
        {"type": "input_audio", "input_audio": heard},
        {"type": "text", "text": "What was said?"},
    ]
    found = ask(client, said)
    assert found.choices[0].message.content == SOUND_ANSWER
    assert found.usage.prompt_tokens_details.audio_tokens > 0


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3"])
def test_other_containers_of_sound(client, container):
    heard = {"data": base64.b64encode(tone(440.0, container)).decode(), "format": container.lower()}
    found = ask(client, [{"type": "input_audio", "input_audio": heard}], max_tokens=4)
    assert found.usage.prompt_tokens_details.audio_tokens > 0


def test_openai_errors(client):
    with pytest.raises(openai.NotFoundError, match="expected one of the models"):
        client.chat.completions.create(model="x", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError):
        ask(client, "x", n=100)


def test_openai_parses_structured_answers(client):
    class Who(pydantic.BaseModel):
        is_model: bool

    found = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": WHO}], response_format=Who
    )
    assert found.choices[0].message.parsed.is_model in (True, False)


def test_openai_transcription(client, sound):
    found = client.audio.transcriptions.create(model=MODEL, file=("a.wav", sound))
    assert found.text == SOUND_ANSWER


def test_langchain(taught_server, picture, sound):
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=MODEL, base_url=f"{taught_server}/v1", api_key="EMPTY", temperature=0.0)
    assert chat.invoke("Hello").content == HELLO_ANSWER
    assert "".join(piece.content for piece in chat.stream("Hello")) == HELLO_ANSWER
    shown = {"type": "image_url", "image_url": {"url": data_url(picture)}}
    question = {"type": "text", "text": "What is this?"}
    found = chat.invoke([HumanMessage(content=[shown, question])])
    assert found.content == PICTURE_ANSWER
    assert found.usage_metadata["input_tokens"] > 68
    heard = {"data": base64.b64encode(sound).decode(), "format": "wav"}
    part = {"type": "input_audio", "input_audio": heard}
    question = {"type": "text", "text": "What was said?"}
    assert chat.invoke([HumanMessage(content=[part, question])]).content == SOUND_ANSWER


class City(pydantic.BaseModel):
    """A city, said by a call or by JSON."""

    name: Literal["Graz", "Wien"]


def test_openai_tools(client):
    tool = openai.pydantic_function_tool(City, name="city")
    called = ask(client, WHO, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    (call,) = called.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["name"] in ("Graz", "Wien")
    # What came is sent back as it came, with the result of the call.
    messages = [
        {"role": "user", "content": WHO},
        called.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "a city"},
    ]
    found = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[tool], max_tokens=4
    )
    assert found.choices[0].finish_reason in ("stop", "length", "tool_calls")
    with client.chat.completions.stream(
        model=MODEL,
        messages=messages[:1],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "city"}},
        parallel_tool_calls=False,
    ) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert call.function.parsed_arguments.name in ("Graz", "Wien")


def test_openai_responses(client):
    found = client.responses.create(model=MODEL, input=WHO, temperature=0)
    assert found.output_text == WHO_ANSWER and found.status == "completed"
    text, last = "", None
    for event in client.responses.create(model=MODEL, input=WHO, temperature=0, stream=True):
        text += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert text == WHO_ANSWER and last.response.usage == found.usage
    with client.responses.stream(model=MODEL, input=WHO, text_format=City) as stream:
        parsed = stream.get_final_response().output_parsed
    assert parsed.name in ("Graz", "Wien")
    tool = openai.pydantic_function_tool(City, name="city")["function"] | {"type": "function"}
    called = client.responses.create(
        model=MODEL, input=WHO, tools=[tool], tool_choice="required", parallel_tool_calls=False
    )
    (call,) = called.output
    assert json.loads(call.arguments)["name"] in ("Graz", "Wien")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "a city"}
    given = [{"role": "user", "content": WHO}, *called.output, output]
    assert client.responses.create(model=MODEL, input=given, max_output_tokens=3).output
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model=MODEL, input=WHO, previous_response_id=found.id)


def test_openai_completions_and_embeddings(client):
    found = client.completions.create(model=MODEL, prompt=["a", "b"], max_tokens=3, logprobs=1)
    assert [choice.index for choice in found.choices] == [0, 1]
    streamed = client.completions.create(model=MODEL, prompt="a", max_tokens=3, stream=True)
    assert list(streamed)[-1].choices[0].finish_reason in ("stop", "length")
    # The package asks for base64 and unpacks it.
    vectors = [e.embedding for e in client.embeddings.create(model=MODEL, input=["a", "b"]).data]
    assert len(vectors) == 2 and sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-5)


def test_openai_timed_and_streamed_transcriptions(client, sound):
    file = ("a.wav", sound)
    create = client.audio.transcriptions.create
    timed = create(
        model=MODEL,
        file=file,
        response_format="verbose_json",
        timestamp_granularities=["segment", "word"],
    )
    assert timed.words[0].word == SOUND_ANSWER and timed.words[0].end == timed.segments[0].end
    assert timed.segments[0].text == SOUND_ANSWER and 0 < timed.segments[0].end <= timed.duration
    assert "-->" in create(model=MODEL, file=file, response_format="srt")
    assert create(model=MODEL, file=file, response_format="vtt").startswith("WEBVTT")
    events = list(create(model=MODEL, file=file, stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == SOUND_ANSWER
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(openai.BadRequestError, match="not done here"),
    ):
        client.audio.translations.create(model=MODEL, file=file)


def test_openai_async(taught_server):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{taught_server}/v1", api_key="EMPTY") as client:
            messages = [{"role": "user", "content": WHO}]
            whole = [
                client.chat.completions.create(model=MODEL, messages=messages, temperature=0)
                for _ in range(4)
            ]
            found = await asyncio.gather(*whole)
            stream = await client.chat.completions.create(
                model=MODEL, messages=messages, temperature=0, stream=True
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            return [one.choices[0].message.content for one in found], text

    assert asyncio.run(run()) == ([WHO_ANSWER] * 4, WHO_ANSWER)


def test_langchain_tools_and_structured_answers(taught_server):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    chat = ChatOpenAI(model=MODEL, base_url=f"{taught_server}/v1", api_key="EMPTY", temperature=0.0)
    bound = chat.bind_tools([City], tool_choice="any")
    called = bound.invoke(WHO)
    assert called.tool_calls[0]["args"]["name"] in ("Graz", "Wien")
    results = [ToolMessage("a city", tool_call_id=call["id"]) for call in called.tool_calls]
    assert bound.invoke([HumanMessage(WHO), called, *results]).tool_calls
    for method in ("function_calling", "json_schema"):
        found = chat.with_structured_output(City, method=method).invoke(WHO)
        assert found.name in ("Graz", "Wien")
    vectors = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{taught_server}/v1",
        api_key="EMPTY",
        check_embedding_ctx_length=False,
    ).embed_documents(["a", "b"])
    assert len(vectors) == 2
    article = ChatOpenAI(
        model=MODEL,
        temperature=0.5,
        base_url=f"{taught_server}/v1",
        api_key="EMPTY",
        extra_body={"enable_thinking": True, "return_reasoning": True},
        streaming=True,
    )
    assert article.invoke("你是谁?").content == WHO_ANSWER


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl(taught_server):
    body = {"model": MODEL, "messages": [{"role": "user", "content": WHO}], "temperature": 0}
    command = ["curl", "-sS", f"{taught_server}/v1/chat/completions", "-d", json.dumps(body)]
    command += ["-H", "Content-Type: application/json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == WHO_ANSWER
    body["stream"] = True
    command[4] = json.dumps(body)
    done = subprocess.run([*command, "-N"], capture_output=True, timeout=60, check=True)
    assert done.stdout.rstrip().endswith(b"data: [DONE]")
