"""Whether a job may go on: the same step, options, inputs and numerics as when it was begun."""

import json
from collections.abc import Mapping
from typing import Any

from dvse.errors import ResumeError

_HINT = "use another --output, or pass --overwrite to start again"


def check_identity(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare what a job was begun with.

    Raises:
        ResumeError: something differs; each difference is a line.
    """
    lines = [
        f"{name}: {_shown(before.get(name))} before, {_shown(now.get(name))} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    _refuse("this job was begun with other settings", lines, _HINT)


def check_profile(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare numerics profiles.

    Raises:
        ResumeError: they differ, so the same file might get other tokens now.
    """
    was, here = _flat(before), _flat(now)
    lines = [
        f"{name}: {was.get(name, 'missing')} before, {here.get(name, 'missing')} now"
        for name in sorted(was.keys() | here.keys())
        if was.get(name) != here.get(name)
    ]
    hint = "restore it, pass --allow-numerics-drift to mix them knowingly, or " + _HINT
    _refuse("the numerics profile is not the one that this job was begun with", lines, hint)


def _refuse(what: str, lines: list[str], hint: str) -> None:
    if lines:
        raise ResumeError("\n  ".join([f"{what}; {hint}", *lines]))


def _flat(profile: Mapping[str, Any]) -> dict[str, Any]:
    nested = profile.get("versions", {})
    named = {k: v for k, v in profile.items() if k != "versions" and v is not None}
    return named | dict(nested)


def _shown(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown if len(shown) <= 70 else f"{shown[:67]}..."
