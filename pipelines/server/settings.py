"""What a server may be told, and its limits. Plain values; knows no model and no network."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dvse.errors import ConfigError
from dvse.precision import Precision
from pipelines.answering.weight_format import QUANTIZE_HELP, Quantization
from pipelines.runs.numerics_settings import precision_setting
from pipelines.settings import section, setting

ENDPOINTS = (
    "GET /v1/models",
    "GET /v1/introductions/{model}",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/audio/transcriptions",
    "POST /v1/multimodal/completions",
    "POST /v1/tokenize",
    "POST /v1/detokenize",
    "POST /v1/verify",
    "WS /v1/verify",
    "WS /v1/realtime/tokens",
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "GET /docs",
)
AUTO = "auto"
_BESIDE_OTHERS_GIB = 1.0


@dataclass(frozen=True, kw_only=True)
class BatchingLimits:
    """How much is done at once, and how much may wait.

    Raises:
        ConfigError: a value outside its range.
    """

    max_concurrency: int = setting(32, "answers generated at once")
    max_queue: int = setting(128, "requests that may wait beside them; more are told to come back")
    cache_gib: str | float = setting(
        AUTO,
        "memory for keys and values, a process; auto: what weights leave free, up to what so many "
        "answers of the whole context take; with --also-model auto is 1",
        metavar="GIB",
    )

    def __post_init__(self) -> None:
        if self.max_concurrency < 1 or self.max_queue < 0:
            name, least = ("max_queue", 0) if self.max_concurrency >= 1 else ("max_concurrency", 1)
            raise ConfigError(
                f"expected {name} of at least {least}, received {getattr(self, name)}"
            )
        if self.cache_gib != AUTO and not _is_above_zero(self.cache_gib):
            raise ConfigError(f"expected cache_gib above 0 or auto, received {self.cache_gib}")

    @property
    def max_in_flight(self) -> int:
        """Requests that are taken before the next is told to come back later."""
        return self.max_concurrency + self.max_queue


def _is_above_zero(given: str | float) -> bool:
    try:
        return 0 < float(given) < float("inf")
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class LoadingConfig:
    """What to load, and where to; with tensor parallelism, each process takes its own device."""

    model: str = setting("tiny", "shipped name, model directory or Hub id")
    device: str = setting("cpu", "cpu, cuda or cuda:N")
    dtype: str | None = setting(
        None, "of the weights, such as bfloat16 (default: as they are stored)"
    )
    quantize: Quantization | None = setting(None, QUANTIZE_HELP)
    precision: Precision = precision_setting()
    tensor_parallel: int = setting(
        1, "split the decoder over N processes; starts them with torchrun"
    )
    draft: str | None = setting(
        None,
        "a smaller model of the same bundle that guesses what the model then checks: the same "
        "answers in fewer steps",
        metavar="MODEL",
    )
    draft_tokens: int = setting(4, "tokens of a guess")
    limits: BatchingLimits = section(BatchingLimits())

    def __post_init__(self) -> None:
        if self.draft_tokens < 1:
            raise ConfigError(f"expected draft_tokens of at least 1, received {self.draft_tokens}")
        if self.tensor_parallel < 1:
            raise ConfigError(
                f"expected tensor_parallel of at least 1, received {self.tensor_parallel}"
            )
        if self.quantize is not None and self.tensor_parallel > 1:
            raise ConfigError(
                "--quantize: expected one process, received --tensor-parallel "
                f"{self.tensor_parallel}; quantized weights are not split"
            )

    @property
    def name(self) -> str:
        """What the model is called where nobody says more: its name, or its folder's."""
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model


@dataclass(frozen=True, kw_only=True)
class ListeningSettings:
    """Where clients and operators reach the server.

    Raises:
        ConfigError: a value outside its range, or a file that is not there.
    """

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "port, 0 for a free one")
    root_path: str = setting("", "where a proxy shows the server, such as /dvse", metavar="PATH")
    ssl_certfile: Path | None = setting(None, "serve https with this certificate chain (PEM)")
    ssl_keyfile: Path | None = setting(None, "its private key, if it is in a file of its own")
    allowed_origins: tuple[str, ...] = setting(
        (),
        "let web pages from there call the server (CORS), * for all; may be given several times",
        name="allow_origin",
        metavar="ORIGIN",
        many="again",
    )
    access_log: Literal["text", "json", "none"] = setting(
        "text", "a line a request: path, status, times, tokens, request id"
    )
    otlp_endpoint: str | None = setting(
        None, "send a span a request to this OpenTelemetry collector (extra otel)", metavar="URL"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"--port: expected 0 to 65535, received {self.port}")
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        is_path = re.fullmatch(r"(/[\w.~-]+)*", self.root_path, re.ASCII)
        if not is_path or f"{self.root_path}/".startswith("/v1/"):
            raise ConfigError(
                f"--root-path: expected /PATH of plain characters, other than /v1, received "
                f"{self.root_path!r}"
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ConfigError("--ssl-keyfile: expected --ssl-certfile beside it")
        for path in (self.ssl_certfile, self.ssl_keyfile):
            if path is not None and not path.is_file():
                raise ConfigError(f"expected a PEM file, {path} is none")

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "http" if self.ssl_certfile is None else "https"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of one server.

    The first of `served_names` is the one that answers carry; without any it is the model's own.

    Attributes:
        max_body_bytes: of one request; `max_buffered_bytes` of all that are being read.
        max_pixels: of a picture, on its header; `max_audio_s` of a recording.
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
        "what clients call the first model; may be given several times (default: the model's name)",
        name="served_model_name",
        metavar="NAME",
        many="again",
    )
    other_models: tuple[str, ...] = setting(
        (),
        "another model beside it, loaded when somebody asks for it; may be given several times",
        name="also_model",
        metavar="MODEL",
        many="again",
    )
    models_gib: float | None = setting(
        None, "memory for all models that are loaded; the one used longest ago makes way"
    )
    listening: ListeningSettings = section(ListeningSettings())
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
    max_pixels: int = 50_000_000
    max_audio_s: float = 3600.0
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
        names = [*self.served_names, *(config.name for config in self.others)]
        if len(set(names)) < len(names):
            raise ConfigError(f"expected models of different names, received {', '.join(names)}")
        if self.other_models and self.limits.cache_gib == AUTO:  # the first would take it all
            limits = replace(self.limits, cache_gib=_BESIDE_OTHERS_GIB)
            object.__setattr__(self, "loading", replace(self.loading, limits=limits))
        if self.others and (self.loading.tensor_parallel > 1 or self.engine == "ray"):
            raise ConfigError("--also-model: several models are served by one process alone")

    @property
    def others(self) -> tuple[LoadingConfig, ...]:
        """How the other models are loaded: like the first."""
        return tuple(replace(self.loading, model=model, draft=None) for model in self.other_models)

    @property
    def name(self) -> str:
        """The name that answers carry."""
        return self.served_names[0]

    @property
    def limits(self) -> BatchingLimits:
        """How much is done at once, and how much may wait."""
        return self.loading.limits
