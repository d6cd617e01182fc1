"""Whether the state of a pass belongs to the data that are to go on with it."""

from collections.abc import Mapping
from typing import Any

from dvse.errors import ConfigError


def check_same_settings(then: Mapping[str, Any], now: Mapping[str, Any], *, what: str) -> None:
    """Compare what decides the order of the windows.

    Args:
        then: the settings in the state.
        now: those of the data.
        what: for the message, such as "data set".

    Raises:
        ConfigError: they differ.

    >>> check_same_settings({"seed": 1}, {"seed": 2}, what="mixture")
    Traceback (most recent call last):
    dvse.errors.ConfigError: the state belongs to another mixture; seed: 1 then, 2 now
    >>> check_same_settings({"seed": 1, "pad": None}, {"seed": 1}, what="data set")
    Traceback (most recent call last):
    dvse.errors.ConfigError: the state belongs to another data set; pad: None then, 'nothing' now
    """
    differing = [
        f"{key}: {then.get(key, 'nothing')!r} then, {now.get(key, 'nothing')!r} now"
        for key in {**now, **then}
        if key not in then or key not in now or then[key] != now[key]
    ]
    if differing:
        raise ConfigError(f"the state belongs to another {what}; " + ", ".join(differing))
