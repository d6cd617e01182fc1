"""What an answer has to look like, as a grammar of llguidance; knows no vocabulary.

A call of a function is written as Hermes and Qwen write it, in plain text:

    <tool_call>{"name": "weather", "arguments": {"city": "Graz"}}</tool_call>
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dvse.errors import InputError
from pipelines.server.answers.closed_schema import closed
from pipelines.server.answers.endless_schema import is_circular, is_endless

CALL, END_CALL = "<tool_call>", "</tool_call>"
_MOST_CALLS = 16
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
_OPTIONS = {"whitespace_flexible": False}


class AnswerForm(ABC):
    """A form that answers have to keep to."""

    @abstractmethod
    def grammar(self) -> str:
        """Return the grammar.

        Raises:
            InputError: no document that ends could keep to it.
        """


class TextForm(AnswerForm):
    """A form of the words themselves, which may also stand where no function is called."""

    def grammar(self) -> str:
        """Return one rule, `start`."""
        return f"start: {self.rule()}"

    @abstractmethod
    def rule(self) -> str:
        """Return the right side of a rule; raises as `grammar` does."""


@dataclass(frozen=True, kw_only=True)
class JsonForm(TextForm):
    """JSON that fits a schema; `field` is what the client calls it."""

    schema: dict[str, Any]
    field: str = "response_format"

    def rule(self) -> str:
        """Return a document of the schema."""
        return _json_rule(self.schema, self.field)


@dataclass(frozen=True, kw_only=True)
class ChoiceForm(TextForm):
    """One of some strings."""

    choices: Sequence[str]

    def rule(self) -> str:
        """Return the strings side by side.

        >>> ChoiceForm(choices=["yes", "no"]).rule()
        '"yes" | "no"'
        """
        return " | ".join(json.dumps(choice, ensure_ascii=False) for choice in self.choices)


@dataclass(frozen=True, kw_only=True)
class RegexForm(TextForm):
    """What a regular expression matches as a whole."""

    pattern: str

    def rule(self) -> str:
        """Return the expression between slashes."""
        # A slash ends the expression in the grammar, unless it is escaped there already.
        escaped = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", self.pattern, flags=re.DOTALL)
        return "/" + escaped.replace("\n", r"\n") + "/"


@dataclass(frozen=True, kw_only=True)
class CallableFunction:
    """A function by name, with the JSON schema of its arguments."""

    name: str
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CallForm(AnswerForm):
    """Calls of functions, or text where a call is not asked for.

    Attributes:
        functions: those that may be called.
        is_required: whether there has to be a call.
        is_parallel: whether there may be several.
        text: the form of an answer without a call, `None` for any text.
    """

    functions: Sequence[CallableFunction]
    is_required: bool = False
    is_parallel: bool = True
    text: TextForm | None = None

    def grammar(self) -> str:
        """Return a rule for each function, and for text where no call has to be made."""
        times = f"{{1,{_MOST_CALLS}}}" if self.is_parallel else ""
        lines = [f"start: {'calls' if self.is_required else 'calls | text'}", f"calls: call{times}"]
        names = [f"call_{n}" for n in range(len(self.functions))]
        lines.append(f"call: {' | '.join(names)}")
        for name, function in zip(names, self.functions, strict=True):
            head = f'{CALL}{{"name": "{function.name}", "arguments": '
            rule = _json_rule(function.parameters or _NO_ARGUMENTS, f"tools: {function.name}")
            lines.append(f"{name}: {json.dumps(head)} {rule} {json.dumps('}' + END_CALL)}")
        if not self.is_required and self.text is not None:
            lines.append(f"text: {self.text.rule()}")
        elif not self.is_required:
            lines += ["text: TEXT", rf"TEXT: /(.|\n)+/ & ~/(.|\n)*{CALL}(.|\n)*/"]
        return "\n".join(lines)


def _json_rule(schema: dict[str, Any], field: str) -> str:
    try:
        if is_endless(schema):
            raise InputError(
                f"{field}: nothing that ends fits this schema; a part that holds itself has to be "
                "optional somewhere"
            )
        if is_circular(schema):
            raise InputError(f"{field}: a part of this schema is defined as itself")
        return "%json " + json.dumps(closed(schema) | {"x-guidance": _OPTIONS})
    except RecursionError:
        raise InputError(f"{field}: this schema is nested too deeply") from None
