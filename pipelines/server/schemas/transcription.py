"""`/v1/audio/transcriptions` as OpenAI's clients send and read it."""

from typing import Any, Literal

from pydantic import Field

from pipelines.server.schemas.base import ResponseModel

TranscriptionFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]


class Transcription(ResponseModel):
    """What was said."""

    text: str
    usage: dict[str, Any] | None = None


class TranscriptionSegment(ResponseModel):
    """A stretch of the recording in which something was said.

    Attributes:
        start, end: seconds, where its first unit begins and its last one ends.
        tokens: ids of the text.
        avg_logprob: mean of their log-probabilities.
        compression_ratio: bytes of the text over those that zlib makes of it.
    """

    id: int
    seek: int = 0
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float


class VerboseTranscription(ResponseModel):
    """What was said, when, and how long the recording is."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    segments: list[TranscriptionSegment] = Field(default_factory=list)
    usage: dict[str, Any] | None = None
