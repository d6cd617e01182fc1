"""What all requests and answers share."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class RequestModel(BaseModel):
    """A request: wrong types and unknown fields are refused.

    `null` says nothing, wherever it stands: clients write it for every field that they know and
    their user did not set. So it is taken for unknown fields, too.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"additionalProperties": {"type": "null"}},
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        needed = {f.alias or n for n, f in cls.model_fields.items() if f.is_required()}
        return {k: v for k, v in data.items() if v is not None or k in needed}


class ResponseModel(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class WithReasoning(ResponseModel):
    """Carries `reasoning_content`, left out of the JSON where it was not asked for."""

    reasoning_content: str | None = None

    _left_out: ClassVar[tuple[str, ...]] = ("reasoning_content",)

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = write(self)
        for name in self._left_out:
            if document.get(name) is None:
                document.pop(name, None)
        return document


ModelName = Annotated[str, Field(min_length=1, max_length=256, description="from GET /v1/models")]


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

    @classmethod
    def sum(cls, parts: "Sequence[Usage]") -> "Usage":
        """Return the sums over several prompts."""
        return cls.model_validate(_summed([part.model_dump() for part in parts]))


class ErrorBody(ResponseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(ResponseModel):
    """An error in OpenAI's shape."""

    error: ErrorBody


STREAM_RESPONSE: dict[int | str, dict] = {
    200: {"content": {"text/event-stream": {}}, "description": "The answer, or its events"}
}
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


def _summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    first = parts[0]
    return {
        key: _summed([part[key] for part in parts])
        if isinstance(value, dict)
        else sum(part[key] for part in parts)
        for key, value in first.items()
    }
