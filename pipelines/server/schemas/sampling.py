"""The fields that say how a token is drawn, wherever an answer is wanted."""

from typing import Annotated

from pydantic import Field

from pipelines.server.batching.batcher import Sampling
from pipelines.server.errors import ApiError
from pipelines.server.schemas.base import RequestModel


class SamplingFields(RequestModel):
    """What a client says of the draw; see `Sampling` for what each does."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, description="-1 and 0: all")
    min_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=10)
    logit_bias: (
        dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]
        | None
    ) = Field(default=None, max_length=10_000)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)

    def sampling(self, *, default_temperature: float, vocab_size: int) -> Sampling:
        """Return the rules.

        Raises:
            ApiError: 400, a bias of an id that there is not.
        """
        bias = tuple((int(token), value) for token, value in (self.logit_bias or {}).items())
        if any(token >= vocab_size for token, _ in bias):
            raise ApiError(400, f"logit_bias: expected ids below {vocab_size}", param="logit_bias")
        return Sampling(
            temperature=_or_else(self.temperature, default_temperature),
            top_p=_or_else(self.top_p, 1.0),
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            repetition_penalty=_or_else(self.repetition_penalty, 1.0),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logit_bias=bias,
            seed=self.seed,
        )


def _or_else(value: float | None, default: float) -> float:
    return default if value is None else value
