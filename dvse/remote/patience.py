"""Faults that pass: what failed because of the network or a server is tried again, here alone.

`EIO`, `ETIMEDOUT`, `ESTALE` and their like, a connection that broke, and the answers 408, 429 and
5xx of a server, say nothing about a file. They become an error only after a few tries with pauses
between them. A file that is missing, forbidden or broken is that at once. The clients of stores
have their own retries switched off, so nothing is tried sixteen times.
"""

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from dvse.errors import StorageError

T = TypeVar("T")

_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "ETIMEDOUT", "ESTALE", "EAGAIN", "EBUSY", "EINTR", "EREMOTEIO", "ENOTCONN"),
        *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENETDOWN", "ENETUNREACH"),
        *("ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ESHUTDOWN", "ENOLINK", "ECOMM"),
    )
    if hasattr(errno, name)
)
_PASSING_STATUS = frozenset((408, 425, 429, *range(500, 600)))
_PASSING_CODES = frozenset(
    ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling",
     "ThrottlingException", "RequestTimeTooSkewed", "ConditionalRequestConflict",
     "OperationAborted")
)  # fmt: skip
# Faults of a connection whose classes share no base with Python's own; named, so that no client
# has to be imported to tell.
_PASSING_CLASSES = frozenset(
    (
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.ConnectionError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "http.client.IncompleteRead",
        "urllib3.exceptions.HTTPError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.Timeout",
        "httpx.TransportError",
    )
)


def is_passing(error: BaseException) -> bool:
    """Whether an exception, or what it came from, is a fault that may pass by itself.

    >>> import errno
    >>> is_passing(OSError(errno.ESTALE, "Stale file handle")), is_passing(FileNotFoundError())
    (True, False)
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, StorageError):
            return False  # it has been waited for already
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return True
        if isinstance(cause, TimeoutError | ConnectionError):
            return True
        if status_of(cause) in _PASSING_STATUS or code_of(cause) in _PASSING_CODES:
            return True
        if any(f"{c.__module__}.{c.__qualname__}" in _PASSING_CLASSES for c in type(cause).__mro__):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often, and after which pauses, something is tried again.

    Attributes:
        pauses_s: before the second try, the third, …
        sleep: waits so many seconds.
    """

    pauses_s: tuple[float, ...] = (0.2, 1.0, 4.0)
    sleep: Callable[[float], object] = time.sleep

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, called again while its fault may pass.

        Raises:
            Exception: its own, of the last try, or the first that does not pass.
        """
        for pause in self.pauses_s:
            try:
                return function()
            except Exception as error:
                if not is_passing(error):
                    raise
            self.sleep(pause)
        return function()

    def items(self, begin: Callable[[int], Iterator[T]]) -> Iterator[T]:
        """Yield what an iterator yields, begun again behind its last item while its fault may pass.

        Args:
            begin: given a number of items, returns an iterator over all that come after them.
        """
        given, pauses = 0, iter(self.pauses_s)
        while True:
            try:
                for item in begin(given):
                    yield item
                    given, pauses = given + 1, iter(self.pauses_s)
                return
            except Exception as error:
                pause = next(pauses, None)
                if pause is None or not is_passing(error):
                    raise
            self.sleep(pause)


PATIENCE = Patience()


def code_of(error: BaseException) -> str | None:
    """Return the code of S3's answer that an exception carries, such as `SlowDown`."""
    answer = getattr(error, "response", None)
    found = answer.get("Error") if isinstance(answer, dict) else None
    return found.get("Code") if isinstance(found, dict) else None


def status_of(error: BaseException) -> int | None:
    """Return the status of a server's answer, as the libraries hold it that people read with."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for holder, name in (
        (response, "status_code"), (response, "status"), (error, "status"), (error, "code"),
    ):  # fmt: skip
        status = getattr(holder, name, None)
        if isinstance(status, int):
            return status
    return None
