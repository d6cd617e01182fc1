"""What an edge server may be told."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from dvse.errors import ConfigError
from pipelines.server.settings import ServerSettings
from pipelines.settings import section, setting


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Settings of `dvse edge`: those of a server, and where the large model is.

    Raises:
        ConfigError: no address of a server.
    """

    cloud: str = setting(
        help="address of the DVSE server with the large model, such as https://host", metavar="URL"
    )
    cloud_key: str | None = setting(None, "its API key (default: $DVSE_CLOUD_KEY)", metavar="KEY")
    cloud_model: str | None = setting(
        None, "which of its models (default: its first)", metavar="NAME"
    )
    guess: int = setting(8, "tokens that are guessed here before the large model is asked")
    cloud_timeout_s: float = setting(
        5.0, "without a word from the large model for so long, the small one answers alone"
    )
    cloud_pause_s: float = setting(10.0, "how long it then does so before it asks again")
    server: ServerSettings = section(ServerSettings())

    def __post_init__(self) -> None:
        parts = urlsplit(self.cloud)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--cloud: expected http(s)://HOST[:PORT], received {self.cloud!r}")
        if not 1 <= self.guess <= 256:
            raise ConfigError(f"--guess: expected 1 to 256 tokens, received {self.guess}")
        if self.cloud_timeout_s <= 0:
            raise ConfigError(
                f"--cloud-timeout-s: expected above 0, received {self.cloud_timeout_s}"
            )
        if self.server.engine == "ray" or self.server.loading.tensor_parallel > 1:
            raise ConfigError(
                "dvse edge: one process alone; leave --engine ray and "
                "--tensor-parallel to the server that it asks"
            )

    @property
    def verify_url(self) -> str:
        """Where guesses are sent.

        >>> EdgeSettings(cloud="https://a.example/x/").verify_url
        'wss://a.example/x/v1/verify'
        """
        scheme, rest = self.cloud.split("://", 1)
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/')}/v1/verify"
