"""Replicas under Ray Serve answer as one server does."""

import os
import socket

import pytest
from server_process import running, serve_command
from taught_model import WHO, WHO_ANSWER, WHO_REASONING

openai = pytest.importorskip("openai")
pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.mark.slow
def test_two_replicas_answer_stream_and_refuse(taught_model, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = serve_command(taught_model, "--engine", "ray", "--replicas", "2")
    command[command.index("--port") + 1] = str(port)
    log = tmp_path / "log"
    with (
        running(command, log, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="EMPTY") as client,
    ):
        (model,) = [model.id for model in client.models.list()]
        asked = {"model": model, "messages": [{"role": "user", "content": WHO}], "temperature": 0}
        # Requests are spread over the replicas: all of them know the answer.
        answers = [client.chat.completions.create(**asked) for _ in range(8)]
        assert {answer.choices[0].message.content for answer in answers} == {WHO_ANSWER}
        thinking = {"enable_thinking": True, "return_reasoning": True}
        chunks = [*client.chat.completions.create(**asked, stream=True, extra_body=thinking)]
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == WHO_ANSWER
        thought = (getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        assert "".join(thought) == WHO_REASONING
        with pytest.raises(openai.NotFoundError, match="gpt-5"):
            client.chat.completions.create(**{**asked, "model": "gpt-5"})
    assert "2 replicas" in log.read_text(errors="replace")
