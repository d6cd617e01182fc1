"""`/v1/responses` as OpenAI's clients send and read it. Nothing is stored between requests."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

from pipelines.server.schemas.base import ModelName, RequestModel, ResponseModel
from pipelines.server.schemas.chat import InputAudio
from pipelines.server.schemas.generation import (
    Effort,
    Hints,
    JsonObjectFormat,
    TextFormat,
    text_or_list,
)
from pipelines.server.schemas.tools import FunctionName


class _Lenient(RequestModel):
    """Something that came out of an earlier answer: what nobody needs is left alone."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={})


class InputTextPart(_Lenient):
    """Words."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputRefusalPart(_Lenient):
    """Words with which an earlier answer refused."""

    type: Literal["refusal"]
    refusal: str


class InputImagePart(RequestModel):
    """A picture: a data URL, or an address where the server may fetch."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: str | None = None


class InputAudioPart(RequestModel):
    """A recording in base64."""

    type: Literal["input_audio"]
    input_audio: InputAudio


InputPart = Annotated[
    InputTextPart | InputRefusalPart | InputImagePart | InputAudioPart,
    Field(discriminator="type"),
]
InputContent = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[InputPart], Field(max_length=1000), Tag("list")],
    Discriminator(text_or_list),
]


class InputMessage(_Lenient):
    """One turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: InputContent


class InputCall(_Lenient):
    """A call that an earlier answer made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class InputCallOutput(_Lenient):
    """What came of it."""

    type: Literal["function_call_output"]
    call_id: str
    output: InputContent


class ReasoningText(_Lenient):
    """A piece of what was thought."""

    text: str


class InputReasoning(_Lenient):
    """What an earlier answer thought."""

    type: Literal["reasoning"]
    content: Annotated[list[ReasoningText], Field(max_length=1000)] | None = None


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return value.get("type") or "message"
    return getattr(value, "type", None)


InputItem: TypeAlias = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputCallOutput, Tag("function_call_output")]
    | Annotated[InputReasoning, Tag("reasoning")],
    Discriminator(_kind),
]
Input = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[InputItem], Field(min_length=1, max_length=1000), Tag("list")],
    Discriminator(text_or_list),
]


class FlatFunction(RequestModel):
    """A function that may be called."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FlatChoice(RequestModel):
    """Asks for a call of one function."""

    type: Literal["function"]
    name: FunctionName


class FlatSchemaFormat(RequestModel):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextOptions(RequestModel):
    """The form of the answer's text."""

    format: (
        Annotated[TextFormat | JsonObjectFormat | FlatSchemaFormat, Field(discriminator="type")]
        | None
    ) = None
    verbosity: str | None = None


class ReasoningOptions(RequestModel):
    """Whether the model thinks first; what it thought is then an item of the output."""

    effort: Effort | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ResponsesRequest(Hints):
    """A conversation that wants an answer."""

    model: ModelName
    input: Input
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    tools: list[FlatFunction] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = Field(default=None, ge=1)
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    enable_thinking: bool | None = None
    return_reasoning: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Literal[0] | None = None
    background: Literal[False] | None = None


class ResponsesUsage(ResponseModel):
    """Exact counts."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class IncompleteDetails(ResponseModel):
    """Why an answer ends early."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Response(ResponseModel):
    """The answer: items of output, and the request's settings as they were used."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete"]
    error: None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    model: str
    output: list[dict[str, Any]] = Field(default_factory=list)
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    reasoning: dict[str, Any] = Field(default_factory=dict)
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any] = Field(default_factory=dict)
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = Field(default_factory=list)
    top_p: float
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponsesUsage | None = None
    user: str | None = None
