"""`/v1/audio/transcriptions` as OpenAI's clients send and read it."""

from typing import Any, Literal

from pipelines.server.schemas.base import ResponseModel

TranscriptionFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]


class Transcription(ResponseModel):
    """What was said."""

    text: str
    usage: dict[str, Any] | None = None


class TranscriptionSegment(ResponseModel):
    """A stretch of the recording in which something was said.

    Attributes:
        start, end: seconds, where its first word begins and its last one ends.
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


class TranscriptionWord(ResponseModel):
    """A word and its seconds."""

    word: str
    start: float
    end: float


class VerboseTranscription(ResponseModel):
    """What was said, when, and how long the recording is.

    Attributes:
        segments, words: those of the two that were asked for.
    """

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None
    usage: dict[str, Any] | None = None
