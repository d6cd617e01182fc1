"""`POST /v1/audio/transcriptions` as OpenAI has it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse

from dvse.items import Audio
from pipelines.answering.prompts import prompt_row
from pipelines.server.answers.event_stream import until_hangup
from pipelines.server.answers.generation import Generation, WholeAnswer
from pipelines.server.schemas.base import ERROR_RESPONSES, GenerationFields
from pipelines.server.schemas.multimodal import Transcription, VerboseTranscription
from pipelines.server.serving import Client, Current

router = APIRouter(prefix="/v1", tags=["answers"], responses=ERROR_RESPONSES)


@router.post("/audio/transcriptions", response_model=Transcription | VerboseTranscription)
async def transcriptions(
    request: Request,
    serving: Current,
    client: Client,
    file: UploadFile,
    model: Annotated[str, Form(min_length=1, max_length=256)],
    prompt: Annotated[str | None, Form(max_length=10_000)] = None,
    language: Annotated[str | None, Form(max_length=16)] = None,
    temperature: Annotated[float, Form(ge=0, le=2, allow_inf_nan=False)] = 0.0,
    response_format: Annotated[Literal["json", "text", "verbose_json"], Form()] = "json",
) -> Any:
    """Write down what was said; `prompt` replaces the question that the model is asked."""
    serving.check_model(model)
    data = await file.read()
    fields = GenerationFields(model=model, temperature=temperature)

    async def work() -> Any:
        async with serving.generator.generate(
            lambda: prompt_row([Audio(data)], prompt or None), fields, client=client
        ) as generation:
            answer = await WholeAnswer.of(generation.answers[0])
            return _formed(answer.content.strip(), generation)

    def _formed(text: str, generation: Generation) -> Any:
        if response_format == "text":
            return PlainTextResponse(text + "\n")
        if response_format == "verbose_json":
            duration = generation.prompt.duration_s or 0.0
            return VerboseTranscription(language=language or "", duration=duration, text=text)
        usage = generation.usage()
        return Transcription(
            text=text,
            usage={
                "type": "tokens",
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
                "input_token_details": {
                    "audio_tokens": usage.prompt_tokens_details.audio_tokens,
                    "text_tokens": usage.prompt_tokens_details.text_tokens,
                },
            },
        )

    return await until_hangup(request, work())
