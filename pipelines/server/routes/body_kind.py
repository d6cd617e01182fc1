"""Which kind of body an endpoint takes: another is 415, whatever it says."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from pipelines.server.errors import ApiError


def _expects(kind: str) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        found = request.headers.get("content-type", "")
        media_type = found.partition(";")[0].strip().lower()
        is_json = kind == "application/json" and media_type.endswith("+json")
        if media_type != kind and not is_json:
            raise ApiError(
                415,
                f"expected Content-Type: {kind}, received {found!a:.80}",
                code="unsupported_content_type",
            )

    return check


json_body = _expects("application/json")
form_body = _expects("multipart/form-data")
