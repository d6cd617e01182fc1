"""What tests ask an app in this process, and how they read its events."""

import base64
import json


def chat(client, content, **fields):
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    body = {"model": "m", "messages": messages, "temperature": 0, **fields}
    return client.post("/v1/chat/completions", json=body)


def parts(*content):
    return [{"role": "user", "content": list(content)}]


def image(picture):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def audio(sound):
    data = base64.b64encode(sound).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
