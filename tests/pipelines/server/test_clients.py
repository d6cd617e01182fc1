"""Real clients against a real server: openai, LangChain and curl."""

import base64
import json
import shutil
import subprocess

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
    pydantic = pytest.importorskip("pydantic")

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
