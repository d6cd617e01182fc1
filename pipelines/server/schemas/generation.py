"""The fields with which clients shape an answer, in the spellings that they really use.

OpenAI's own, and those of vLLM, SGLang and GLM's service. Three kinds: fields that change the
answer and are honoured; hints that cannot change it and are taken without a word; and fields that
could change it but are taken only with the value that changes nothing. All else is refused by name.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from pipelines.server.schemas.base import ModelName, RequestModel
from pipelines.server.schemas.sampling import SamplingFields

_NO_THOUGHT = ("none", "minimal")
_MOST_STOPS = 64


def text_or_list(value: Any) -> str:
    """Tell the two branches of a field that may be a string or a list, for clear errors."""
    return "list" if isinstance(value, list) else "text"


class StreamOptions(RequestModel):
    """`include_usage` asks for a last event with the usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: Literal[False] | None = None


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(RequestModel):
    """A JSON schema and its name."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(RequestModel):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]
Stop = Annotated[str, Field(min_length=1, max_length=256)]
StopStrings = Annotated[
    Annotated[Stop, Tag("text")]
    | Annotated[list[Stop], Field(max_length=_MOST_STOPS), Tag("list")],
    Discriminator(text_or_list),
]
Choices = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(min_length=1, max_length=1000)
]
Pattern = Annotated[str, Field(min_length=1, max_length=10_000)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatTemplateOptions(RequestModel):
    """vLLM's way of saying whether the model may think."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ThinkingOption(RequestModel):
    """GLM's own way of saying it."""

    type: Literal["enabled", "disabled"]


class Hints(RequestModel):
    """Fields that never change an answer here."""

    user: str | None = Field(default=None, max_length=1024)
    safety_identifier: str | None = Field(default=None, max_length=1024)
    prompt_cache_key: str | None = Field(default=None, max_length=1024)
    prompt_cache_retention: str | None = Field(default=None, max_length=64)
    service_tier: str | None = Field(default=None, max_length=64)
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    verbosity: str | None = Field(default=None, max_length=64)
    prediction: dict[str, Any] | None = None
    priority: int | None = None
    request_id: str | None = Field(default=None, max_length=256)
    guided_decoding_backend: str | None = Field(default=None, max_length=64)
    cache_salt: str | None = Field(default=None, max_length=1024)


class NoOps(RequestModel):
    """Fields that are taken with the value that changes nothing, and refused with any other."""

    modalities: list[Literal["text"]] | None = None
    best_of: Literal[1] | None = None
    use_beam_search: Literal[False] | None = None
    length_penalty: Annotated[float, Field(ge=1, le=1)] | None = None
    min_tokens: Literal[0] | None = None
    ignore_eos: Literal[False] | None = None
    stop_token_ids: Annotated[list[int], Field(max_length=0)] | None = None
    include_stop_str_in_output: Literal[False] | None = None
    skip_special_tokens: Literal[True] | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Literal[-1] | None = None
    continue_final_message: Literal[False] | None = None
    add_generation_prompt: Literal[True] | None = None


class StructuredOutputs(RequestModel):
    """vLLM's form of an answer: JSON by a schema, one of some strings, or a regular expression."""

    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    choice: Choices | None = None
    regex: Pattern | None = None

    @model_validator(mode="after")
    def _check_one(self) -> "StructuredOutputs":
        if sum(given is not None for given in (self.json_, self.choice, self.regex)) != 1:
            raise ValueError("expected exactly one of json, choice and regex")
        return self


class GenerationFields(Hints, NoOps, SamplingFields):
    """Fields that every endpoint with an answer understands.

    `enable_thinking` lets the model think before it answers; `return_reasoning` returns what it
    thought. A prompt's tokens count for `repetition_penalty` alone; `logit_bias` is by id.
    """

    model: ModelName
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: StopStrings | None = None
    n: int | None = Field(default=None, ge=1, le=16)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_choice: Choices | None = None
    guided_regex: Pattern | None = None
    structured_outputs: StructuredOutputs | None = None
    enable_thinking: bool | None = None
    return_reasoning: bool | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None
    thinking: ThinkingOption | None = None
    reasoning_effort: Effort | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def may_think(self) -> bool:
        """Whether the model thinks first, whichever way it was said; the plainest way wins."""
        template = self.chat_template_kwargs or ChatTemplateOptions()
        for said in (self.enable_thinking, template.enable_thinking, template.thinking):
            if said is not None:
                return said
        if self.thinking is not None:
            return self.thinking.type == "enabled"
        return self.reasoning_effort is not None and self.reasoning_effort not in _NO_THOUGHT

    @property
    def shows_reasoning(self) -> bool:
        """Whether what the model thought is returned."""
        return bool(self.return_reasoning or self.include_reasoning)

    @property
    def wanted_choices(self) -> list[str] | None:
        """The strings of which the answer is one, `None` where it may be another."""
        form = self.structured_outputs
        return self.guided_choice or (form.choice if form is not None else None)

    @property
    def wanted_pattern(self) -> str | None:
        """The regular expression that the answer matches, `None` where there is none."""
        form = self.structured_outputs
        return self.guided_regex or (form.regex if form is not None else None)

    @property
    def wanted_json(self) -> dict[str, Any] | None:
        """The schema that the answer has to fit, `None` where any text will do.

        Raises:
            ValueError: vLLM's field is a string that is not a JSON object.
        """
        given = self.guided_json
        if given is None and self.structured_outputs is not None:
            given = self.structured_outputs.json_
        if given is not None:
            found = json.loads(given) if isinstance(given, str) else given
            if not isinstance(found, dict):
                raise ValueError("expected a JSON schema, an object")
            return found
        form = self.response_format
        if form is None or isinstance(form, TextFormat):
            return None
        schema = form.json_schema.schema_ if isinstance(form, JsonSchemaFormat) else None
        return {"type": "object"} if schema is None else schema
