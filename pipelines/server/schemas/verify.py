"""`/v1/verify`: guessed tokens in, those that the model would have said out."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.server.schemas.base import ModelName, RequestModel, ResponseModel
from pipelines.server.schemas.embeddings import TokenId, TokenIds
from pipelines.server.schemas.sampling import SamplingFields

Draft = Annotated[list[TokenId], Field(max_length=256)]


class VerifyRequest(SamplingFields):
    """A prompt of ids of all modalities, and a guess at the answer's next tokens.

    The likeliest token is taken where `temperature` is not given. `begun` says how many of the
    prompt's last ids are the beginning of the answer already; `fingerprint`, of the client's
    bundle, makes sure that both sides mean the same by an id. `max_new_tokens` counts for a
    connection (`WS`), whose answer goes on guess by guess.
    """

    model: ModelName | None = None
    fingerprint: str | None = Field(default=None, max_length=64)
    prompt_ids: TokenIds
    draft_ids: Draft = Field(default_factory=list)
    begun: int = Field(default=0, ge=0)
    enable_thinking: bool = False
    max_new_tokens: int | None = Field(default=None, ge=1, le=1_000_000)


class NextDraft(RequestModel):
    """The next guess of a connection."""

    draft_ids: Draft


class Verified(ResponseModel):
    """The verdict on one guess.

    `ids` are the answer's next tokens: those of the guess that are right, then one of the model's
    own, unless the answer ended. `finish_reason` is `stop`, `length`, or null while it goes on.
    """

    ids: list[int]
    num_accepted: int
    finish_reason: Literal["stop", "length"] | None = None
