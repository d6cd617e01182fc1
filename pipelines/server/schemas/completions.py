"""`/v1/completions`: text goes on, without the chat format."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from pipelines.server.schemas.base import ResponseModel, Usage
from pipelines.server.schemas.embeddings import TokenIds, kind_of_batch
from pipelines.server.schemas.generation import GenerationFields

_MOST_PROMPTS = 128

Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(min_length=1, max_length=_MOST_PROMPTS), Tag("texts")]
    | Annotated[TokenIds, Tag("ids")]
    | Annotated[list[TokenIds], Field(max_length=_MOST_PROMPTS), Tag("rows")],
    Discriminator(kind_of_batch),
]


class CompletionRequest(GenerationFields):
    """Texts that are to go on; `max_tokens` is 16 where nothing is said, as OpenAI has it."""

    prompt: Prompt
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    suffix: Annotated[str, Field(max_length=0)] | None = None


class CompletionLogprobs(ResponseModel):
    """Of each token, in the shape of the old endpoint."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(ResponseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class Completion(ResponseModel):
    """The answer to a `CompletionRequest`: `n` choices a prompt, prompts in order."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str
