"""For which sizes TensorRT builds its engines."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """For which sizes an engine is built, and in what it computes.

    Raises:
        ConfigError: a bound below 1, or a prompt longer than the context.
    """

    batch: int = setting(8, "the most rows of a call")
    prompt: int = setting(512, "the most tokens that a call reads")
    context: int = setting(1024, "the most tokens that the cache holds, the call's own among them")
    half: bool = setting(False, "let layers compute in fp16 where that is faster")

    def __post_init__(self) -> None:
        if min(self.batch, self.prompt) < 1 or self.prompt > self.context:
            raise ConfigError(
                f"expected --batch and --prompt of at least 1 and --prompt up to --context, "
                f"received {self.batch}, {self.prompt} and {self.context}"
            )
