"""What all requests and answers share."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class RequestModel(BaseModel):
    """A request: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ResponseModel(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class WithReasoning(ResponseModel):
    """Carries `reasoning_content`, left out of the JSON where it was not asked for."""

    reasoning_content: str | None = None

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = write(self)
        if self.reasoning_content is None:
            document.pop("reasoning_content", None)
        return document


ModelName = Annotated[str, Field(min_length=1, max_length=256, description="from GET /v1/models")]
Stop = Annotated[str, Field(min_length=1, max_length=256)]


class StreamOptions(RequestModel):
    """Attributes: `include_usage` asks for a last event with the usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(RequestModel):
    """A JSON schema and its name."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(RequestModel):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


class GenerationFields(RequestModel):
    """Fields that every endpoint with an answer understands.

    `enable_thinking` lets the model think before it answers; `return_reasoning` returns what it
    thought.
    """

    model: ModelName
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = Field(default=None, ge=1, le=16)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    enable_thinking: bool | None = None
    return_reasoning: bool | None = None
    user: str | None = Field(default=None, max_length=256)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class PromptDetails(ResponseModel):
    """Of the prompt's tokens, those of media and those that an earlier prompt had computed."""

    image_tokens: int = 0
    audio_tokens: int = 0
    text_tokens: int = 0
    cached_tokens: int = 0


class CompletionDetails(ResponseModel):
    """Of the answer's tokens, those that were thought."""

    reasoning_tokens: int = 0


class Usage(ResponseModel):
    """Exact counts; the token that ends an answer is not counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class ErrorBody(ResponseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(ResponseModel):
    """An error in OpenAI's shape."""

    error: ErrorBody


ERROR_RESPONSES: dict[int | str, dict] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "The request cannot be understood or done",
        401: "No key, or one that is not known",
        404: "No such model",
        408: "The body did not arrive in time",
        413: "The body is too large",
        415: "Another kind of body was expected",
        429: "Too many requests; see Retry-After",
        500: "The answer could not be generated",
        503: "Not ready, or stopping",
    }.items()
}
