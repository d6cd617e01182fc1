"""A loaded model and what stands between it and the endpoints."""

import asyncio
from dataclasses import dataclass

from dvse.errors import InputError
from dvse.items import Item
from pipelines.server.answers.answer_stream import Outbox
from pipelines.server.answers.generation import Generator
from pipelines.server.answers.prompt_encoder import PromptEncoder
from pipelines.server.door.remote_media import RemoteMedia
from pipelines.server.metrics import Metrics
from pipelines.server.served_model import ServedModel
from pipelines.server.settings import ServerSettings

Row = tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A loaded model and what stands between it and the endpoints."""

    model: ServedModel
    settings: ServerSettings
    encoder: PromptEncoder
    generator: Generator
    outbox: Outbox
    remote: RemoteMedia | None

    @classmethod
    def of(cls, model: ServedModel, settings: ServerSettings, metrics: Metrics) -> "Serving":
        """Build it; called in the running event loop."""
        encoder = PromptEncoder(
            model.tokenizer,
            workers=settings.media_workers,
            max_pixels=settings.max_pixels,
            max_audio_s=settings.max_audio_s,
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
            outbox=outbox,
            remote=remote,
        )

    @property
    def fingerprint(self) -> str:
        """What answers carry as `system_fingerprint`."""
        return f"dvse-{self.model.tokenizer.fingerprint[:12]}"

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
