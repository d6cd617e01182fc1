"""`/v1/embeddings`: OpenAI's, and pictures and recordings beside text."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pipelines.server.schemas.base import ModelName, RequestModel, ResponseModel
from pipelines.server.schemas.multimodal import Input

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=100_000)]
_MOST_INPUTS = 2048


def kind_of_batch(value: Any) -> str:
    """Tell by its first element what a list holds, for clear errors."""
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else ""
    kinds = ((int, "ids"), (list, "rows"), (dict, "media"))
    return next((kind for cls, kind in kinds if isinstance(first, cls)), "texts")


EmbeddingInput = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(min_length=1, max_length=_MOST_INPUTS), Tag("texts")]
    | Annotated[TokenIds, Tag("ids")]
    | Annotated[list[TokenIds], Field(max_length=_MOST_INPUTS), Tag("rows")]
    | Annotated[list[Input], Field(max_length=_MOST_INPUTS), Tag("media")],
    Discriminator(kind_of_batch),
]


class EmbeddingRequest(RequestModel):
    """What wants a vector: a text, texts, ids of this model, or pictures and recordings."""

    model: ModelName
    input: EmbeddingInput
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = Field(default=None, max_length=1024)


class Embedding(ResponseModel):
    """A vector of length 1; base64 holds little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(ResponseModel):
    """Exact counts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(ResponseModel):
    """One vector an input, in order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
