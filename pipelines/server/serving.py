"""What the endpoints of one app share, and the check that all of it is there."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from dvse.errors import InputError
from dvse.items import Item
from pipelines.server.answers.answer_stream import Outbox
from pipelines.server.answers.generation import Generator
from pipelines.server.answers.prompt_encoder import PromptEncoder
from pipelines.server.door.remote_media import RemoteMedia
from pipelines.server.errors import ApiError, unavailable
from pipelines.server.metrics import Metrics
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A loaded model and what stands between it and the endpoints."""

    model: ServedModel
    settings: ServerSettings
    encoder: PromptEncoder
    generator: Generator
    remote: RemoteMedia | None

    @classmethod
    def of(cls, model: ServedModel, settings: ServerSettings, metrics: Metrics) -> "Serving":
        """Build it; called in the running event loop."""
        encoder = PromptEncoder(
            model.tokenizer, workers=settings.media_workers, max_pixels=settings.max_pixels
        )
        outbox = Outbox(asyncio.get_running_loop())
        remote = None
        if settings.media_hosts:
            remote = RemoteMedia(
                settings.media_hosts,
                timeout_s=settings.media_timeout_s,
                max_bytes=settings.max_media_bytes,
            )
        return cls(
            model=model,
            settings=settings,
            encoder=encoder,
            generator=Generator(model, settings, encoder, metrics, outbox),
            remote=remote,
        )

    @property
    def fingerprint(self) -> str:
        """What answers carry as `system_fingerprint`."""
        return f"dvse-{self.model.tokenizer.fingerprint[:12]}"

    def check_model(self, name: str | None) -> str:
        """Return the name that an answer carries.

        Raises:
            ApiError: 404, no such model.
        """
        if name is None or name in self.settings.served_names:
            return name or self.settings.name
        raise ApiError(
            404,
            f"expected one of the models {', '.join(self.settings.served_names)}, received "
            f"{name!a:.60}",
            code="model_not_found",
            param="model",
        )

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind a remote address; call it away from the event loop.

        Raises:
            InputError: nothing is fetched here, or not this.
        """
        if self.remote is None:
            raise InputError(
                "remote addresses are not fetched here; send the content as data:TYPE;base64,…"
            )
        return self.remote.fetch(url)


def current(request: Request) -> Serving:
    """Return the app's `Serving`.

    Raises:
        ApiError: 503, the model is still loading or the server stops.
    """
    serving = getattr(request.app.state, "serving", None)
    if serving is None:
        raise unavailable("the model is still loading; try again in a moment")
    return serving


def client_of(request: Request) -> str:
    """Return who asks: the key, or else the address; a hash, so that it may be logged."""
    key = request.headers.get("authorization", "")
    who = key or (request.client.host if request.client else "")
    return hashlib.sha256(who.encode("utf-8", "surrogateescape")).hexdigest()[:16]


Current = Annotated[Serving, Depends(current)]
Client = Annotated[str, Depends(client_of)]
Row = tuple[Item, ...]
