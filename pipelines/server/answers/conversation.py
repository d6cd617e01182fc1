"""A chat request to the row of its prompt and the form of its answer."""

from typing import Any

from dvse.chat import render
from pipelines.server.answers.answer_form import (
    AnswerForm,
    CallableFunction,
    CallForm,
    ChoiceForm,
    JsonForm,
    RegexForm,
    TextForm,
)
from pipelines.server.answers.tool_calls import DescribedFunction, call_written, tools_told
from pipelines.server.errors import ApiError
from pipelines.server.schemas.chat import ChatRequest, Message, Part, RefusalPart
from pipelines.server.schemas.generation import GenerationFields
from pipelines.server.schemas.tools import NamedToolChoice, Tool
from pipelines.server.serving import Row, Serving


def conversation_row(body: ChatRequest, serving: Serving) -> Row:
    """Return the row; slow where media are fetched or large, so call it away from the event loop.

    Raises:
        InputError: messages that cannot be laid out.
    """
    messages = [_as_openai(message) for message in body.messages]
    if tools := callable_tools(body):
        functions = [
            DescribedFunction(
                name=tool.function.name,
                description=tool.function.description,
                parameters=tool.function.parameters,
            )
            for tool in tools
        ]
        messages.insert(0, {"role": "system", "content": tools_told(functions)})
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [_fetched(part, serving) for part in message["content"]]
    return render(
        messages,
        add_generation_prompt=True,
        enable_thinking=body.may_think,
        allow_files=False,
    ).items


def callable_tools(body: ChatRequest) -> list[Tool]:
    """Return the functions that this answer may call.

    Raises:
        ApiError: 400, a choice that the tools do not have.
    """
    choice = body.tool_choice or "auto"
    tools = [] if choice == "none" else list(body.tools or ())
    if choice == "required" and not tools:
        raise ApiError(400, "tool_choice: expected tools to choose from", param="tool_choice")
    if isinstance(choice, NamedToolChoice):
        tools = [tool for tool in tools if tool.function.name == choice.function.name]
        if not tools:
            raise ApiError(
                400,
                f"tool_choice: expected one of the tools, received {choice.function.name!a:.80}",
                param="tool_choice",
            )
    return tools


def conversation_form(body: ChatRequest) -> AnswerForm | None:
    """Return what the answer has to look like, `None` where any text will do.

    Raises:
        ApiError: 400, see `callable_tools` and `text_form`.
    """
    text, tools = text_form(body), callable_tools(body)
    if not tools:
        return text
    return CallForm(
        functions=[
            CallableFunction(name=tool.function.name, parameters=tool.function.parameters)
            for tool in tools
        ],
        is_required=body.tool_choice not in (None, "auto"),
        is_parallel=body.parallel_tool_calls is not False,
        text=text,
    )


def text_form(fields: GenerationFields) -> TextForm | None:
    """Return the form that `response_format` or vLLM's fields ask for.

    Raises:
        ApiError: 400, a schema that is not one.
    """
    if (choices := fields.wanted_choices) is not None:
        return ChoiceForm(choices=choices)
    if (pattern := fields.wanted_pattern) is not None:
        return RegexForm(pattern=pattern)
    field = "guided_json" if fields.guided_json is not None else "response_format"
    field = "structured_outputs" if fields.structured_outputs is not None else field
    try:
        schema = fields.wanted_json
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{field}: {error}", param=field) from None
    return None if schema is None else JsonForm(schema=schema, field=field)


def _as_openai(message: Message) -> dict[str, Any]:
    """Return a message as `dvse.chat.render` takes it, calls written as the model writes them."""
    content = message.content if message.content is not None else (message.refusal or "")
    calls = "".join(
        call_written(c.function.name, c.function.arguments) for c in message.tool_calls or ()
    )
    parts: str | list[dict[str, Any]]
    if isinstance(content, str):
        parts = content + calls
    else:
        parts = [_as_part(part) for part in content]
        parts += [{"type": "text", "text": calls}] if calls else []
    role = "tool" if message.role == "function" else message.role
    found: dict[str, Any] = {"role": role, "content": parts}
    if message.reasoning_content is not None:
        found["reasoning_content"] = message.reasoning_content
    return found


def _as_part(part: Part) -> dict[str, Any]:
    if isinstance(part, RefusalPart):
        return {"type": "text", "text": part.refusal}
    return part.model_dump(exclude_none=True)


def _fetched(part: dict[str, Any], serving: Serving) -> dict[str, Any]:
    """Replace a remote address by what lies behind it."""
    kind = part["type"]
    url = part[kind]["url"] if kind in ("image_url", "audio_url") else ""
    if url[:8].lower().startswith(("http://", "https://")):
        modality = kind.removesuffix("_url")
        return {"type": modality, modality: serving.fetch(url)}
    return part
