"""`POST /v1/audio/transcriptions` as OpenAI has it; `/v1/audio/translations` is refused."""

import zlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse

from dvse.items import Audio
from pipelines.answering.prompts import prompt_row
from pipelines.server.answers.event_stream import EventStream, event, until_hangup
from pipelines.server.answers.generation import Generation, WholeAnswer
from pipelines.server.answers.subtitles import as_srt, as_vtt
from pipelines.server.answers.timed_transcript import TimedTranscript
from pipelines.server.caller import Caller, Client
from pipelines.server.errors import ApiError
from pipelines.server.routes.body_kind import form_body
from pipelines.server.schemas.base import ERROR_RESPONSES, Usage
from pipelines.server.schemas.generation import GenerationFields
from pipelines.server.schemas.transcription import (
    Transcription,
    TranscriptionFormat,
    TranscriptionSegment,
    TranscriptionWord,
    VerboseTranscription,
)
from pipelines.server.shelf import Current, Shelf

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES)


# Those of the endpoint, and hints that never change an answer here.
_FIELDS = {
    *("file", "model", "prompt", "language", "temperature", "response_format", "stream"),
    *("timestamp_granularities", "timestamp_granularities[]", "chunking_strategy", "user"),
}


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is to be written down, and how."""

    data: bytes
    fields: GenerationFields
    prompt: str | None
    language: str | None
    form: TranscriptionFormat
    times: Sequence[str] = ("segment",)

    @property
    def is_timed(self) -> bool:
        return self.form in ("srt", "vtt", "verbose_json")


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
    plain_granularities: Annotated[
        list[Literal["segment", "word"]] | None, Form(alias="timestamp_granularities")
    ] = None,
) -> Any:
    """Write down what was said; `prompt` replaces the question that the model is asked."""
    await _check_known(request)
    timestamp_granularities = timestamp_granularities or plain_granularities
    if stream and response_format not in ("json", "text"):
        raise ApiError(
            400,
            f"a stream gives events of text; {response_format} comes whole, without stream",
            param="response_format",
        )
    if timestamp_granularities and response_format != "verbose_json":
        raise ApiError(
            400,
            "timestamp_granularities needs response_format=verbose_json",
            param="timestamp_granularities",
        )
    wanted = _Wanted(
        data=await file.read(),
        fields=GenerationFields(model=model, temperature=temperature, stream=stream),
        prompt=prompt or None,
        language=language,
        form=response_format,
        times=timestamp_granularities or ("segment",),
    )
    if stream:
        return EventStream(_events(wanted, shelf, client))
    return await until_hangup(request, _answer(wanted, shelf, client))


async def _check_known(request: Request) -> None:
    """Refuse what could change the answer and is not honoured, as the endpoints with JSON do.

    Raises:
        ApiError: 400, with the field's name.
    """
    for name, value in (await request.form()).multi_items():
        if value not in ("", "null") and name not in _FIELDS:
            raise ApiError(
                400, f"{name}: no such field here; leave it out", code="invalid_value", param=name
            )


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
        timed = TimedTranscript()
        if wanted.is_timed:
            timed = await TimedTranscript.of(answer, generation.prompt, wanted.data, opened.serving)
        return _formed(answer, timed, generation, wanted)


def _formed(
    answer: WholeAnswer, timed: TimedTranscript, generation: Generation, wanted: _Wanted
) -> Any:
    text = answer.content.strip()
    match wanted.form:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(as_srt(timed.lines))
        case "vtt":
            return PlainTextResponse(as_vtt(timed.lines), media_type="text/vtt")
        case "verbose_json":
            duration = generation.prompt.duration_s or 0.0
            return VerboseTranscription(
                language=wanted.language or "",
                duration=duration,
                text=text,
                segments=_segments(timed, answer, wanted) if "segment" in wanted.times else None,
                words=_words(timed) if "word" in wanted.times else None,
                usage={"type": "duration", "seconds": round(duration)},
            )
    return Transcription(text=text, usage=_usage(generation.usage()))


def _words(timed: TimedTranscript) -> list[TranscriptionWord]:
    return [
        TranscriptionWord(word=word.text, start=word.start, end=word.end) for word in timed.words
    ]


def _segments(
    timed: TimedTranscript, answer: WholeAnswer, wanted: _Wanted
) -> list[TranscriptionSegment]:
    segments = []
    for number, (line, numbers) in enumerate(zip(timed.lines, timed.tokens, strict=True)):
        data = line.text.encode()
        tokens = [answer.tokens[token] for token in numbers]
        logprobs = [token.logprob or 0.0 for token in tokens]
        segments.append(
            TranscriptionSegment(
                id=number,
                start=line.start,
                end=line.end,
                text=line.text,
                tokens=[token.id for token in tokens],
                temperature=wanted.fields.temperature or 0.0,
                avg_logprob=sum(logprobs) / max(len(logprobs), 1),
                compression_ratio=len(data) / len(zlib.compress(data)),
            )
        )
    return segments


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
