"""What pydantic found wrong, as one sentence about the field that was meant.

Where a field has several forms pydantic reports what is wrong with each of them; the form that was
meant is the one in which it got furthest.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import FormData

_MOST_SHOWN = 60


def fault(error: RequestValidationError) -> tuple[str | None, str]:
    """Return the field at fault, `None` for the whole body, and what is wrong with it.

    >>> found = {"loc": ("body", "n"), "type": "int_type", "msg": "Input should be an int"}
    >>> fault(RequestValidationError([found | {"input": "x"}], body={"n": "x"}))
    ('n', "Input should be an int, received 'x'")
    """
    found = list(error.errors())
    if found[0].get("type") == "json_invalid":
        return None, _json_fault(found[0], error.body)
    placed = [(_place(entry.get("loc", ()), error.body), entry) for entry in found]
    furthest = max(len(place) for place, _ in placed)
    place = next(place for place, _ in placed if len(place) == furthest)
    faults = [entry for other, entry in placed if other == place]
    return ".".join(place) or None, _sentence(faults)


def _sentence(faults: Sequence[Any]) -> str:
    first = faults[0]
    if first.get("type") == "extra_forbidden":
        return "no such field here; leave it out"
    if first.get("type") == "missing":
        return "this field is required" if first.get("loc", ())[1:] else "expected a body of JSON"
    if "Expected UploadFile" in str(first.get("msg")):
        return "expected a file, such as -F file=@recording.wav of curl"
    messages = list(dict.fromkeys(str(entry.get("msg", "invalid")) for entry in faults))
    return f"{' or '.join(messages)}, received {_short(first.get('input'))}"


def _place(location: Sequence[Any], body: Any) -> list[str]:
    """Keep of pydantic's path what the client wrote: no names of types and branches."""
    if location and location[0] != "body":
        return [str(step) for step in location[1:]]
    place: list[str] = []
    value = dict(body) if isinstance(body, FormData) else body
    for number, step in enumerate(location):
        if number == 0:
            continue
        is_key = isinstance(value, dict) and step in value
        is_index = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if is_key or is_index:
            value = value[step]
        elif number < len(location) - 1 or not isinstance(value, dict):
            continue
        place.append(str(step))
    return place


def _json_fault(entry: Any, body: Any) -> str:
    at = entry.get("loc", ("body", 0))[-1]
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if not isinstance(text, str) or not isinstance(at, int):
        return "the body is not valid JSON"
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    reason = (entry.get("ctx") or {}).get("error", "something else was expected")
    return f"the body is not valid JSON: {reason} at line {line}, column {column}"


def _short(value: Any) -> str:
    shown = ascii(value) if not isinstance(value, dict | list) else type(value).__name__
    return shown if len(shown) <= _MOST_SHOWN else shown[: _MOST_SHOWN - 3] + "..."
