"""Who asks, and what is noted of the request for the access log and the metrics."""

import hashlib
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.types import Scope

_KEY = "dvse_record"


@dataclass(kw_only=True)
class RequestRecord:
    """What is known of one request, filled in on its way; owned by the request's scope.

    Attributes:
        request_id: the client's own, or a new one.
        model: that answered.
        prompt_tokens, completion_tokens: read and written.
        first_token_s: from its arrival to the first token.
    """

    request_id: str = ""
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        name: the key, or else the address; a hash, so that it may be logged.
        record: of this request.
    """

    name: str = ""
    record: RequestRecord = field(default_factory=RequestRecord)


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request, made where there is none yet."""
    found: RequestRecord = scope.setdefault(_KEY, RequestRecord())
    return found


async def caller_of(request: HTTPConnection) -> Caller:
    """Return who asks."""
    key = request.headers.get("authorization", "")
    who = key or (request.client.host if request.client else "")
    name = hashlib.sha256(who.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Caller(name=name, record=record_of(request.scope))


Client = Annotated[Caller, Depends(caller_of)]
