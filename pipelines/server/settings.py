"""What a server may be told, and its limits. Plain values; knows no model and no network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dvse.errors import ConfigError
from pipelines.settings import section, setting

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
class BatchingLimits:
    """How much is done at once, and how much may wait.

    Raises:
        ConfigError: a value outside its range.
    """

    max_concurrency: int = setting(32, "answers generated at once")
    max_queue: int = setting(128, "requests that may wait beside them; more are told to come back")
    cache_gib: float = setting(1.0, "memory for keys and values, a process")

    def __post_init__(self) -> None:
        if self.max_concurrency < 1 or self.max_queue < 0:
            name, least = ("max_queue", 0) if self.max_concurrency >= 1 else ("max_concurrency", 1)
            raise ConfigError(
                f"expected {name} of at least {least}, received {getattr(self, name)}"
            )
        if self.cache_gib <= 0:
            raise ConfigError(f"expected cache_gib above 0, received {self.cache_gib}")

    @property
    def max_in_flight(self) -> int:
        """Requests that are taken before the next is told to come back later."""
        return self.max_concurrency + self.max_queue


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """What to load, and where to; with tensor parallelism, each process takes its own device."""

    model: str = setting("tiny", "shipped name, model directory or Hub id")
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    dtype: str | None = setting(
        None, "of the weights, such as bfloat16 (default: as they are stored)"
    )
    tensor_parallel: int = setting(
        1, "split the decoder over N processes; starts them with torchrun"
    )
    limits: BatchingLimits = section(BatchingLimits())

    def __post_init__(self) -> None:
        if self.tensor_parallel < 1:
            raise ConfigError(
                f"expected tensor_parallel of at least 1, received {self.tensor_parallel}"
            )

    @property
    def name(self) -> str:
        """What the model is called where nobody says more: its name, or its folder's."""
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of one server.

    The first of `served_names` is the one that answers carry; without any it is the model's own.

    Attributes:
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

    loading: LoadingConfig = section(LoadingConfig())
    served_names: tuple[str, ...] = setting(
        (),
        "what clients call it; may be given several times (default: the model's name)",
        name="served_model_name",
        metavar="NAME",
        many="again",
    )
    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "port, 0 for a free one")
    api_keys: tuple[str, ...] = setting(
        (),
        "ask for this key; may be given several times (default: $DVSE_API_KEY, or none)",
        name="api_key",
        metavar="KEY",
        many="again",
    )
    media_hosts: tuple[str, ...] = setting(
        (),
        "fetch pictures from these hosts (host or host:port), public addresses only (default: "
        "from nowhere)",
        name="allow_remote_media",
        metavar="HOST",
        many="words",
    )
    engine: Literal["local", "ray"] = setting(
        "local", "ray serves replicas of the same app with Ray Serve"
    )
    replicas: int = setting(1, "with --engine ray")
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
        if not self.served_names:
            object.__setattr__(self, "served_names", (self.loading.name,))
        if not all(self.served_names):
            raise ConfigError("expected at least one name for the model, received an empty one")
        if any(not key for key in self.api_keys):
            raise ConfigError("expected an API key of at least one character, received ''")
        for name in ("media_workers", "default_max_tokens", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} of at least 1, received {getattr(self, name)}")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"--port: expected 0 to 65535, received {self.port}")

    @property
    def name(self) -> str:
        """The name that answers carry."""
        return self.served_names[0]

    @property
    def limits(self) -> BatchingLimits:
        """How much is done at once, and how much may wait."""
        return self.loading.limits
