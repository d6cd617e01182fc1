"""`POST /v1/audio/transcriptions` as OpenAI has it; `/v1/audio/translations` is refused."""

import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse

from dvse.encoding import Encoding
from dvse.items import Audio
from pipelines.answering.prompts import prompt_row
from pipelines.server.answers.event_stream import EventStream, event, until_hangup
from pipelines.server.answers.generation import WholeAnswer
from pipelines.server.answers.subtitles import TimedText, as_srt, as_vtt
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError
from pipelines.server.routes.body_kind import form_body
from pipelines.server.schemas.base import ERROR_RESPONSES, Usage
from pipelines.server.schemas.generation import GenerationFields
from pipelines.server.schemas.transcription import (
    Transcription,
    TranscriptionFormat,
    TranscriptionSegment,
    VerboseTranscription,
)
from pipelines.server.shelf import Current, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is to be written down, and how."""

    data: bytes
    fields: GenerationFields
    prompt: str | None
    language: str | None
    form: TranscriptionFormat


@router.post(
    "/audio/transcriptions",
    response_model=Transcription | VerboseTranscription,
    responses={
        200: {"content": {"text/plain": {}, "text/event-stream": {}}, "description": "The words"}
    },
    dependencies=[Depends(form_body)],
)
async def transcriptions(
    request: Request,
    shelf: Current,
    client: Client,
    file: UploadFile,
    model: Annotated[str, Form(min_length=1, max_length=256)],
    prompt: Annotated[str | None, Form(max_length=10_000)] = None,
    language: Annotated[str | None, Form(max_length=16)] = None,
    temperature: Annotated[float, Form(ge=0, le=2, allow_inf_nan=False)] = 0.0,
    response_format: Annotated[TranscriptionFormat, Form()] = "json",
    stream: Annotated[bool, Form()] = False,
    timestamp_granularities: Annotated[
        list[Literal["segment", "word"]] | None, Form(alias="timestamp_granularities[]")
    ] = None,
) -> Any:
    """Write down what was said; `prompt` replaces the question that the model is asked."""
    if timestamp_granularities and response_format != "verbose_json":
        raise ApiError(
            400,
            "timestamp_granularities needs response_format=verbose_json",
            param="timestamp_granularities",
        )
    if "word" in (timestamp_granularities or ()):
        raise ApiError(
            400,
            "timestamp_granularities: this model times segments, not words",
            param="timestamp_granularities",
        )
    wanted = _Wanted(
        data=await file.read(),
        fields=GenerationFields(model=model, temperature=temperature, stream=stream),
        prompt=prompt or None,
        language=language,
        form=response_format,
    )
    if stream:
        return EventStream(_events(wanted, shelf, client))
    return await until_hangup(request, _answer(wanted, shelf, client))


@router.post("/audio/translations", include_in_schema=False)
async def translations() -> None:
    """Refuse: no model here has learnt to translate."""
    raise ApiError(
        400,
        "translations are not done here: the model writes down what was said in the language in "
        "which it was said; use /v1/audio/transcriptions",
        code="unsupported_endpoint",
    )


async def _answer(wanted: _Wanted, shelf: Shelf, client: Caller) -> Any:
    async with (
        shelf.open(wanted.fields.model) as opened,
        opened.serving.generator.generate(
            lambda: prompt_row([Audio(wanted.data)], wanted.prompt),
            wanted.fields,
            client=client,
            num_logprobs=0 if wanted.form == "verbose_json" else None,
            field="file",
        ) as generation,
    ):
        answer = await WholeAnswer.of(generation.answers[0])
        return _formed(answer, generation.prompt, generation.usage(), wanted)


def _formed(answer: WholeAnswer, prompt: Encoding, usage: Usage, wanted: _Wanted) -> Any:
    text = answer.content.strip()
    entries = [_timed(text, prompt)] if text else []
    match wanted.form:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(as_srt(entries))
        case "vtt":
            return PlainTextResponse(as_vtt(entries), media_type="text/vtt")
        case "verbose_json":
            return VerboseTranscription(
                language=wanted.language or "",
                duration=prompt.duration_s or 0.0,
                text=text,
                segments=[_segment(entry, answer, wanted) for entry in entries],
                usage={"type": "duration", "seconds": round(prompt.duration_s or 0.0)},
            )
    return Transcription(text=text, usage=_usage(usage))


def _timed(text: str, prompt: Encoding) -> TimedText:
    """The recording's units say when they begin and end: one frame each, or as long as merged."""
    span = next(span for span in prompt.spans if span.modality == "audio")
    num_units = span.stop - span.start - 2
    num_frames = num_units if span.durations is None else int(span.durations.sum())
    end = num_frames / (span.frame_rate_hz or 1.0)
    return TimedText(start=0.0, end=min(end, span.duration_s or end), text=text)


def _segment(entry: TimedText, answer: WholeAnswer, wanted: _Wanted) -> TranscriptionSegment:
    data = entry.text.encode()
    logprobs = [token.logprob or 0.0 for token in answer.tokens]
    return TranscriptionSegment(
        id=0,
        start=entry.start,
        end=entry.end,
        text=entry.text,
        tokens=[token.id for token in answer.tokens],
        temperature=wanted.fields.temperature or 0.0,
        avg_logprob=sum(logprobs) / max(len(logprobs), 1),
        compression_ratio=len(data) / len(zlib.compress(data)),
    )


async def _events(wanted: _Wanted, shelf: Shelf, client: Caller) -> AsyncGenerator[bytes, None]:
    async with (
        shelf.open(wanted.fields.model) as opened,
        opened.serving.generator.generate(
            lambda: prompt_row([Audio(wanted.data)], wanted.prompt),
            wanted.fields,
            client=client,
            field="file",
        ) as generation,
    ):
        text = held = ""
        async for delta in generation.answers[0].deltas():
            # Blanks wait for a word, so that what was streamed is what is stripped at the end.
            words = held + delta.content if text else delta.content.lstrip()
            said = words.rstrip()
            held = words[len(said) :]
            if said:
                text += said
                yield event({"type": "transcript.text.delta", "delta": said})
        usage = _usage(generation.usage())
        yield event({"type": "transcript.text.done", "text": text, "usage": usage})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "input_token_details": {
            "audio_tokens": usage.prompt_tokens_details.audio_tokens,
            "text_tokens": usage.prompt_tokens_details.text_tokens,
        },
    }
