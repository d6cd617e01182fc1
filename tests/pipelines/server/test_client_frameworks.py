"""Clients that bring much with them: LiteLLM, LlamaIndex, instructor, and OpenAI's npm package.

Each runs where it is installed: `pip install litellm llama-index-llms-openai-like
llama-index-embeddings-openai-like instructor`, and `npm install openai` in a folder that NODE_PATH
names.
"""

import json
import os
import shutil
import subprocess
from typing import Literal

import pydantic
import pytest
from taught_model import WHO, WHO_ANSWER

MODEL = "autoglm-phone-9b"
# These libraries are not ours, and neither are their warnings.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


class City(pydantic.BaseModel):
    """A city."""

    name: Literal["Graz", "Wien"]


TOOL = {
    "type": "function",
    "function": {"name": "city", "parameters": City.model_json_schema()},
}


def test_litellm(taught_server):
    litellm = pytest.importorskip("litellm")
    place = {"api_base": f"{taught_server}/v1", "api_key": "EMPTY"}
    asked = {"model": f"openai/{MODEL}", "messages": [{"role": "user", "content": WHO}]}

    def ask(**fields):
        return litellm.completion(**asked, **place, **{"temperature": 0, **fields})

    assert ask().choices[0].message.content == WHO_ANSWER
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(stream=True)]
    assert "".join(pieces) == WHO_ANSWER
    called = ask(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    (call,) = called.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["name"] in ("Graz", "Wien")
    found = ask(response_format=City).choices[0].message.content
    assert City.model_validate_json(found)
    assert ask(reasoning_effort="low", allowed_openai_params=["reasoning_effort"]).choices
    vectors = litellm.embedding(model=f"openai/{MODEL}", input=["a", "b"], **place)
    assert len(vectors.data) == 2
    answer = litellm.responses(model=f"openai/{MODEL}", input=WHO, temperature=0, **place)
    assert answer.output[-1].content[0].text == WHO_ANSWER
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**(asked | {"model": "openai/none"}), **place)


def test_llama_index(taught_server):
    pytest.importorskip("llama_index.llms.openai_like")
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    from llama_index.llms.openai_like import OpenAILike

    place = {"api_base": f"{taught_server}/v1", "api_key": "EMPTY"}
    llm = OpenAILike(model=MODEL, is_chat_model=True, is_function_calling_model=True, **place)
    messages = [ChatMessage(role="user", content=WHO)]
    assert llm.chat(messages).message.content == WHO_ANSWER
    assert list(llm.stream_chat(messages))[-1].message.content == WHO_ANSWER
    plain = OpenAILike(model=MODEL, max_tokens=4, **place)  # its default: /v1/completions
    assert isinstance(plain.complete("Hello").text, str)

    def city(name: Literal["Graz", "Wien"]) -> str:
        """Name a city."""
        return name

    tool = FunctionTool.from_defaults(city)
    called = llm.chat_with_tools([tool], user_msg=WHO, tool_required=True)
    calls = llm.get_tool_calls_from_response(called)
    assert calls[0].tool_kwargs["name"] in ("Graz", "Wien")
    assert llm.as_structured_llm(City).complete(WHO).raw.name in ("Graz", "Wien")
    vectors = OpenAILikeEmbedding(model_name=MODEL, **place).get_text_embedding_batch(["a", "b"])
    assert len(vectors) == 2


@pytest.mark.parametrize("mode", ["TOOLS", "JSON", "JSON_SCHEMA"])
def test_instructor(taught_server, mode):
    instructor = pytest.importorskip("instructor")
    import openai

    client = instructor.from_openai(
        openai.OpenAI(base_url=f"{taught_server}/v1", api_key="EMPTY"),
        mode=getattr(instructor.Mode, mode),
    )
    messages = [{"role": "user", "content": WHO}]
    fields = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 60}
    if mode != "JSON":
        found = client.chat.completions.create(response_model=City, max_retries=0, **fields)
        assert found.name in ("Graz", "Wien")
        return
    # Any object will do for the server: whether it is a City is left to the model, and an answer
    # that is none is instructor's own error, not the protocol's.
    try:
        client.chat.completions.create(response_model=City, max_retries=0, **fields)
    except Exception as error:
        assert not isinstance(error.__cause__, openai.OpenAIError), error


SCRIPT = """
const OpenAI = require('openai');
const client = new OpenAI({ baseURL: process.argv[1] + '/v1', apiKey: 'EMPTY' });
const model = 'autoglm-phone-9b';
const messages = [{ role: 'user', content: process.argv[2] }];
const tools = [JSON.parse(process.argv[3])];
(async () => {
  const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
  let streamed = '';
  const stream = await client.chat.completions.create({
    model, messages, temperature: 0, stream: true });
  for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? '';
  const called = await client.chat.completions.create({
    model, messages, tools, tool_choice: 'required', parallel_tool_calls: false });
  const answer = await client.responses.create({ model, input: process.argv[2], temperature: 0 });
  let events = '';
  const typed = await client.responses.create({
    model, input: process.argv[2], temperature: 0, stream: true });
  for await (const event of typed)
    if (event.type === 'response.output_text.delta') events += event.delta;
  const vectors = await client.embeddings.create({ model, input: ['a', 'b'] });
  let status = 0;
  try { await client.chat.completions.create({ model: 'none', messages }); }
  catch (error) { status = error.status; }
  console.log(JSON.stringify({
    whole: whole.choices[0].message.content, streamed,
    call: called.choices[0].message.tool_calls[0].function.arguments,
    response: answer.output_text, events, vectors: vectors.data.length, status }));
})();
"""


def test_npm(taught_server):
    node = shutil.which("node")
    if node is None or not os.environ.get("NODE_PATH"):
        pytest.skip("no node here, or NODE_PATH names no folder with the package openai")
    done = subprocess.run(
        [node, "-e", SCRIPT, taught_server, WHO, json.dumps(TOOL)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads(found.pop("call"))["name"] in ("Graz", "Wien")
    assert found == {
        "whole": WHO_ANSWER,
        "streamed": WHO_ANSWER,
        "response": WHO_ANSWER,
        "events": WHO_ANSWER,
        "vectors": 2,
        "status": 404,
    }
