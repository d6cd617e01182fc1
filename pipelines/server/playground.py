"""The page to try a model on: `GET /` and the files under `/page`.

The files are the folder `page` as it is: no build step, nothing from elsewhere, and a content
security policy that forbids both. They are read once, when the router is made. The page needs no
key, the endpoints that it calls ask for one themselves. Knows nothing of models or answers.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

FOLDER = Path(__file__).parent / "page"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "media-src": "blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, kw_only=True)
class _PageFile:
    content: bytes
    media_type: str
    etag: str


def playground_router() -> APIRouter:
    """Return the routes of the page, none of them in the OpenAPI description.

    >>> sorted(route.path for route in playground_router().routes)
    ['/', '/page/{name}']
    """
    files = {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return _answer(files["index.html"], request)

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def page_file(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404, f"the page has no file {name!r:.80}")
        return _answer(files[name], request)

    return router


def _read(path: Path) -> _PageFile:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _PageFile(content=content, media_type=_MEDIA_TYPES[path.suffix], etag=etag)


def _answer(file: _PageFile, request: Request) -> Response:
    headers = _HEADERS | {"ETag": file.etag}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


router = playground_router()
