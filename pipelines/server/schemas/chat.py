"""`/v1/chat/completions` as the `openai` package sends and reads it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.server.schemas.base import (
    GenerationFields,
    RequestModel,
    ResponseModel,
    Usage,
    WithReasoning,
)


class TextPart(RequestModel):
    """Words."""

    type: Literal["text"]
    text: str


class ImageUrl(RequestModel):
    """A data URL, or an address where the server may fetch; `detail` is ignored."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestModel):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(RequestModel):
    """A recording in base64; what it is, is read from its bytes."""

    data: str = Field(min_length=1)
    format: Literal["wav", "mp3", "flac", "ogg"]


class AudioPart(RequestModel):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: InputAudio


Part = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


class Message(RequestModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_call_id: str | None = None


class ChatRequest(GenerationFields):
    """A conversation that wants an answer."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    frequency_penalty: float | None = Field(default=None, ge=0, le=0, description="only 0")
    presence_penalty: float | None = Field(default=None, ge=0, le=0, description="only 0")
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: Literal["auto", "default"] | None = None


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
    """The answer; `reasoning_content` where it was asked for."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(ResponseModel):
    """One of `n` answers."""

    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(ResponseModel):
    """The answer to a `ChatRequest`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


def as_openai_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Return messages as `dvse.chat.render` takes them."""
    return [
        message.model_dump(exclude_none=True, include={"role", "content", "reasoning_content"})
        | ({"content": ""} if message.content is None else {})
        for message in messages
    ]
