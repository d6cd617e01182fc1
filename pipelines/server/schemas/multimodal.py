"""`/v1/multimodal/completions`, `/v1/tokenize` and `/v1/detokenize`: plain lists of inputs."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.server.schemas.base import RequestModel, ResponseModel, Usage, WithReasoning
from pipelines.server.schemas.generation import GenerationFields


class TextInput(RequestModel):
    """Words."""

    type: Literal["text"]
    text: str


class ImageInput(RequestModel):
    """A picture file in base64."""

    type: Literal["image"]
    data: str = Field(min_length=1)


class AudioInput(RequestModel):
    """A sound file in base64."""

    type: Literal["audio"]
    data: str = Field(min_length=1)


Input = Annotated[TextInput | ImageInput | AudioInput, Field(discriminator="type")]
Inputs = Annotated[list[Input], Field(min_length=1, max_length=1000)]


class MultimodalRequest(GenerationFields):
    """Pictures, recordings and texts that want an answer."""

    inputs: Inputs


class MultimodalChoice(WithReasoning):
    """One of `n` answers."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]


class MultimodalCompletion(ResponseModel):
    """The answer to a `MultimodalRequest`."""

    id: str
    object: Literal["multimodal.completion"] = "multimodal.completion"
    created: int
    model: str
    choices: list[MultimodalChoice]
    usage: Usage


class TokenizeRequest(RequestModel):
    """Inputs whose ids are wanted; no chat format is put around them."""

    model: str | None = Field(default=None, min_length=1, max_length=256)
    inputs: Inputs


class TokenizedItem(ResponseModel):
    """Where one input stands in the ids.

    Attributes:
        start, stop: half-open range in `ids`, begin and end tokens included.
        num_codes: codes of the codebook; `codes`: those of each place, one a level; `grid`: rows
            and columns; `durations`: frames that each unit stands for.
    """

    modality: Literal["text", "image", "audio"]
    start: int
    stop: int
    grid: tuple[int, int] | None = None
    codes: list[list[int]] | None = None
    num_codes: int | None = None
    duration_s: float | None = None
    frame_rate_hz: float | None = None
    durations: list[int] | None = None


class Tokenized(ResponseModel):
    """The ids of the row, the modality of each (0 text, 1 image, 2 audio), and its items."""

    model: str
    ids: list[int]
    modality_ids: list[int]
    items: list[TokenizedItem]
    num_tokens: int


class DetokenizeRequest(RequestModel):
    """Ids whose meaning is wanted; `render` returns pictures as PNG."""

    model: str | None = Field(default=None, min_length=1, max_length=256)
    ids: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(max_length=100_000)
    render: bool = False


class DetokenizedItem(ResponseModel):
    """What a stretch of ids says."""

    modality: Literal["text", "special", "image", "audio"]
    text: str | None = None
    name: str | None = None
    grid: tuple[int, int] | None = None
    codes: list[list[int]] | None = None
    frame_rate_hz: float | None = None
    png: str | None = Field(default=None, description="base64")


class Detokenized(ResponseModel):
    """The items, and all text among them."""

    model: str
    items: list[DetokenizedItem]
    text: str


class ModelEntry(ResponseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["dvse"] = "dvse"


class ModelSample(ResponseModel):
    """A file to try a model on, as base64."""

    title: str
    question: str
    name: str
    media_type: str
    data: str


class ModelIntroduction(ResponseModel):
    """What a model says of itself in its card."""

    id: str
    knows: str
    samples: list[ModelSample]
    refusals: list[str]


class ModelList(ResponseModel):
    """All models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
