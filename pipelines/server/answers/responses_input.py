"""A request of `/v1/responses` said as a chat request: the same prompt, the same form."""

from collections.abc import Sequence
from typing import Any

from pipelines.server.schemas.chat import ChatRequest
from pipelines.server.schemas.responses import (
    FlatChoice,
    FlatSchemaFormat,
    InputAudioPart,
    InputCall,
    InputCallOutput,
    InputImagePart,
    InputItem,
    InputMessage,
    InputPart,
    InputRefusalPart,
    ResponsesRequest,
)

_SHARED = (
    *("model", "stream", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("parallel_tool_calls", "enable_thinking", "return_reasoning"),
)


def as_chat_request(body: ResponsesRequest) -> ChatRequest:
    """Return the chat request that asks the same."""
    messages = _messages(body.input)
    if body.instructions is not None:
        messages.insert(0, {"role": "system", "content": body.instructions})
    fields: dict[str, Any] = {name: getattr(body, name) for name in _SHARED}
    return ChatRequest.model_validate(
        fields
        | {
            "messages": messages,
            "max_tokens": body.max_output_tokens,
            "reasoning_effort": body.reasoning.effort if body.reasoning else None,
            "response_format": _format(body),
            "tools": [
                {"type": "function", "function": tool.model_dump(exclude={"type"})}
                for tool in body.tools or ()
            ],
            "tool_choice": _choice(body),
        }
    )


def _messages(given: str | Sequence[InputItem]) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for item in given:
        if isinstance(item, InputMessage):
            messages.append({"role": item.role, "content": _content(item.content)})
        elif isinstance(item, InputCall):
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            last = messages[-1] if messages else {}
            if last.get("role") == "assistant":
                last["tool_calls"] = [*last.get("tool_calls", []), call]
            else:
                messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif isinstance(item, InputCallOutput):
            content = _content(item.output)
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
    return messages or [{"role": "user", "content": ""}]


def _content(content: str | Sequence[InputPart]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [_part(part) for part in content]


def _part(part: InputPart) -> dict[str, Any]:
    if isinstance(part, InputImagePart):
        return {"type": "image_url", "image_url": {"url": part.image_url}}
    if isinstance(part, InputAudioPart):
        return {"type": "input_audio", "input_audio": part.input_audio.model_dump()}
    text = part.refusal if isinstance(part, InputRefusalPart) else part.text
    return {"type": "text", "text": text}


def _format(body: ResponsesRequest) -> dict[str, Any] | None:
    form = body.text.format if body.text else None
    if form is None:
        return None
    if not isinstance(form, FlatSchemaFormat):
        return form.model_dump()
    schema = form.model_dump(by_alias=True, exclude={"type"})
    return {"type": "json_schema", "json_schema": schema}


def _choice(body: ResponsesRequest) -> Any:
    if isinstance(body.tool_choice, FlatChoice):
        return {"type": "function", "function": {"name": body.tool_choice.name}}
    return body.tool_choice
