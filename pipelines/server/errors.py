"""What goes wrong, in OpenAI's shape: `{"error": {message, type, param, code}}` and a status.

Whatever happens, a client gets a short sentence and never a stack trace; what nobody foresaw is
written to the log.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dvse.errors import (
    InputError,
    MissingExtraError,
    PromptTooLongError,
    TooLargeError,
    VocabularyError,
)
from pipelines.server.batching.batcher import (
    BatcherError,
    BatcherStoppedError,
    NoContinuationError,
    QueueFullError,
)
from pipelines.server.settings import ENDPOINTS
from pipelines.server.validation import fault

_LOG = logging.getLogger("dvse.serve")
_LONGEST = 500


class ApiError(HTTPException):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        message: one sentence for people.
        code: one word for programs.
        param: the field that is at fault.
        headers: further headers, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # FastAPI lets its own class through where a body is read, and no other.
        super().__init__(status, message, dict(headers or {}))
        self.status, self.message, self.code, self.param = status, message, code, param

    def body(self) -> dict[str, Any]:
        """Return the JSON body.

        >>> ApiError(404, "no such model", code="model_not_found").body()["error"]["type"]
        'invalid_request_error'
        """
        return {
            "error": {
                "message": _short(self.message),
                "type": _TYPES.get(self.status, _kind(self.status)),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """Return the whole answer."""
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


_TYPES = {401: "authentication_error", 429: "rate_limit_error", 503: "service_unavailable_error"}


def busy(seconds: int = 1) -> ApiError:
    """Return the error of a server that has enough to do."""
    return ApiError(
        429,
        "the server has as many requests as it takes; try again later",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(max(1, seconds))},
    )


def unavailable(message: str) -> ApiError:
    """Return the error of a server that loads or stops."""
    return ApiError(503, message, code="unavailable", headers={"Retry-After": "1"})


def as_api_error(error: Exception) -> ApiError:
    """Return what a client is told of an exception."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return busy()
        case BatcherStoppedError():
            return unavailable(str(error))
        case NoContinuationError():
            return ApiError(
                400,
                "the form that was asked for has no continuation that this model could write",
                code="invalid_form",
                param="response_format",
            )
        case BatcherError():
            return ApiError(500, "the answer could not be generated", code="engine_error")
        case PromptTooLongError():
            return ApiError(400, str(error), code="context_length_exceeded", param="messages")
        case TooLargeError():
            return ApiError(400, str(error), code="media_too_large")
        case InputError() | VocabularyError():
            return ApiError(400, str(error), code="invalid_input")
        case HTTPException() if error.status_code == 404 and error.detail == "Not Found":
            paths = dict.fromkeys(endpoint.split()[1] for endpoint in ENDPOINTS)
            return ApiError(404, f"there are only {', '.join(paths)}", code="unknown_url")
        case HTTPException() if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return ApiError(
                405,
                f"expected {allowed} here",
                code="method_not_allowed",
                headers=error.headers,
            )
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            field, problem = fault(error)
            if error.errors()[0].get("type") == "json_invalid":
                return ApiError(400, problem, code="invalid_json")
            message = f"{field}: {problem}" if field else problem
            return ApiError(400, message, code="invalid_value", param=field)
        case MissingExtraError():
            return ApiError(501, str(error), code="not_installed")
        case RecursionError():
            return ApiError(400, "the JSON is nested too deeply", code="invalid_json")
        case _:
            _LOG.error("unexpected %s", type(error).__name__, exc_info=error)
            return ApiError(500, "something went wrong here; the server's log says what")


def install_handlers(app: FastAPI) -> None:
    """Let every exception of the app become an answer in OpenAI's shape."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    kinds = (ApiError, BatcherError, InputError, VocabularyError, HTTPException)
    for kind in (*kinds, RequestValidationError, RecursionError, Exception):
        app.add_exception_handler(kind, handle)


def _kind(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"


def _short(message: str) -> str:
    text = message.encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
