"""What a server may be told, and its limits. Plain values; knows no model and no network."""

from dataclasses import dataclass

from dvse.errors import ConfigError

ENDPOINTS = (
    "GET /v1/models",
    "POST /v1/chat/completions",
    "POST /v1/multimodal/completions",
    "POST /v1/tokenize",
    "POST /v1/detokenize",
    "POST /v1/audio/transcriptions",
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "GET /docs",
)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of one server.

    Attributes:
        served_names: what clients call the model; the first is the one that answers carry.
        api_keys: keys that are let in, none for everybody.
        media_hosts: hosts that pictures and recordings may be fetched from, `host` or `host:port`.
        max_concurrency: answers that are generated at once.
        max_queue: requests that may wait beside them.
        max_body_bytes: of one request; `max_buffered_bytes` of all that are being read.
        max_messages: of one conversation.
        max_pixels: of a picture, on its header.
        default_max_tokens: of an answer where the client says nothing.
        body_timeout_s: for a request's body to arrive whole; `header_timeout_s` for its headers.
        media_timeout_s, max_media_bytes: of one fetched file.
        media_workers: threads that decode and encode.
        stop_deadline_s: for running answers after a stop signal.

    Raises:
        ConfigError: a value outside its range.
    """

    served_names: tuple[str, ...]
    api_keys: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()
    max_concurrency: int = 32
    max_queue: int = 128
    max_body_bytes: int = 20_000_000
    max_buffered_bytes: int = 400_000_000
    max_messages: int = 1000
    max_pixels: int = 50_000_000
    default_max_tokens: int = 512
    body_timeout_s: float = 60.0
    header_timeout_s: float = 10.0
    media_timeout_s: float = 10.0
    max_media_bytes: int = 20_000_000
    media_workers: int = 2
    stop_deadline_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.served_names or not all(self.served_names):
            raise ConfigError("expected at least one name for the model, received an empty one")
        if any(not key for key in self.api_keys):
            raise ConfigError("expected an API key of at least one character, received ''")
        for name in ("max_concurrency", "media_workers", "default_max_tokens", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} of at least 1, received {getattr(self, name)}")
        if self.max_queue < 0:
            raise ConfigError(f"expected max_queue of at least 0, received {self.max_queue}")

    @property
    def name(self) -> str:
        """The name that answers carry."""
        return self.served_names[0]

    @property
    def max_in_flight(self) -> int:
        """Requests that are taken before the next is told to come back later."""
        return self.max_concurrency + self.max_queue
