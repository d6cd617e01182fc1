"""A line a request: who asked for what, how it ended, how long it took, what was read and written.

As text for people, as JSON for machines. No keys, no bodies and no addresses of people are written.
"""

import json
import logging
import re
import uuid
from typing import Any, Literal

from starlette.types import Scope

from pipelines.server.caller import record_of

_LOG = logging.getLogger("dvse.access")
_USUAL_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
# Asked every few seconds by machines; said only where something is wrong.
_QUIET = {"/health", "/ready", "/metrics"}


def request_id_of(sent: str | None) -> str:
    r"""Return the client's request id where it can be logged as it is, else a new one.

    >>> request_id_of("abc-1"), len(request_id_of("two\nlines"))
    ('abc-1', 32)
    """
    return sent if sent and _USUAL_ID.fullmatch(sent) else uuid.uuid4().hex


def write_access(
    form: Literal["text", "json", "none"], *, scope: Scope, path: str, status: int, seconds: float
) -> None:
    """Write the line of a request that is over; `path` as the router saw it."""
    if form == "none" or (path in _QUIET and status < 400):
        return
    record = record_of(scope)
    entry: dict[str, Any] = {
        "method": scope.get("method", "WS"),
        "path": path,
        "status": status,
        "seconds": round(seconds, 4),
        "first_token_s": None if record.first_token_s is None else round(record.first_token_s, 4),
        "prompt_tokens": record.prompt_tokens or None,
        "completion_tokens": record.completion_tokens or None,
        "model": record.model,
        "request_id": record.request_id,
    }
    kept = {key: value for key, value in entry.items() if value is not None}
    if form == "json":
        _LOG.info("%s", json.dumps(kept))
        return
    head = f"{kept.pop('method')} {ascii(kept.pop('path'))[1:-1]} {kept.pop('status')}"
    _LOG.info("%s %s", head, " ".join(f"{key}={value}" for key, value in kept.items()))
