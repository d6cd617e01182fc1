"""`/v1/chat/completions` as clients send and read it."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

from pipelines.server.schemas.base import RequestModel, ResponseModel, Usage, WithReasoning
from pipelines.server.schemas.generation import GenerationFields, text_or_list
from pipelines.server.schemas.tools import Tool, ToolCall, ToolChoice


class TextPart(RequestModel):
    """Words."""

    type: Literal["text"]
    text: str


class RefusalPart(RequestModel):
    """Words with which an earlier answer refused."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(RequestModel):
    """A data URL, or an address where the server may fetch; `detail` is a hint."""

    url: str = Field(min_length=1)
    detail: str | None = None


class ImagePart(RequestModel):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(RequestModel):
    """A recording in base64; what it is, is read from its bytes, not from `format`."""

    data: str = Field(min_length=1)
    format: str | None = Field(default=None, max_length=64)


class AudioPart(RequestModel):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class AudioUrl(RequestModel):
    """A data URL."""

    url: str = Field(min_length=1)


class AudioUrlPart(RequestModel):
    """A recording, as vLLM's clients send it."""

    type: Literal["audio_url"]
    audio_url: AudioUrl


Part: TypeAlias = Annotated[
    TextPart | RefusalPart | ImagePart | AudioPart | AudioUrlPart, Field(discriminator="type")
]
Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Field(max_length=1000), Tag("list")],
    Discriminator(text_or_list),
]


class FunctionCalled(RequestModel):
    """A call that an earlier answer made."""

    name: str
    arguments: str


class PastCall(RequestModel):
    """A call that an earlier answer made, with its name for the result."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={})

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCalled


class Message(RequestModel):
    """One turn. Fields that nobody needs are left alone: answers are sent back as they came."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={})

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[PastCall] | None = None


class ChatRequest(GenerationFields):
    """A conversation that wants an answer."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    separate_reasoning: bool | None = None


class TopLogprob(ResponseModel):
    """One of the likeliest tokens."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """The token that was chosen, and the likeliest at its place."""

    top_logprobs: list[TopLogprob] = Field(default_factory=list)


class ChoiceLogprobs(ResponseModel):
    """Of each token of the answer, reasoning left out."""

    content: list[TokenLogprob] | None = None
    refusal: None = None


class AssistantMessage(WithReasoning):
    """The answer: words, or calls; `reasoning_content` where it was asked for."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None

    _left_out: ClassVar[tuple[str, ...]] = ("reasoning_content", "tool_calls")


class Choice(ResponseModel):
    """One of `n` answers."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(ResponseModel):
    """The answer to a `ChatRequest`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
