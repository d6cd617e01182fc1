"""How answers are made, and what is asked where nobody asks. Plain values; knows no torch."""

from dataclasses import asdict, dataclass
from typing import Any

from dvse.errors import ConfigError
from pipelines.settings import section, setting


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """How answers are made.

    Raises:
        ConfigError: a setting outside its range.
    """

    max_new_tokens: int = setting(256, "the most ids of an answer, reasoning included")
    temperature: float = setting(0.0, "0 takes the likeliest token, above 0 samples", metavar="T")
    seed: int = setting(0, "of the sampling")
    thinking: bool = setting(False, "let the model reason before it answers")
    batch_size: int = setting(64, "inputs that are answered together")

    def __post_init__(self) -> None:
        for name, value in (
            ("max_new_tokens", self.max_new_tokens),
            ("batch_size", self.batch_size),
        ):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}: expected a whole number from 1, received {value!r}")
        if not isinstance(self.temperature, int | float) or not 0 <= self.temperature <= 100:
            raise ConfigError(
                f"temperature: expected a number from 0 to 100, received {self.temperature!r}"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: expected a whole number from 0, received {self.seed!r}")


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """What is asked about each input and how it is answered; `None` for its modality's question."""

    question: str | None = setting(None, "ask this about each input", name="prompt", metavar="TEXT")
    answers: AnswerSettings = section(AnswerSettings())

    def identity(self) -> dict[str, Any]:
        """Return what decides the captions; how many are made together does not."""
        identity = {"question": self.question, **asdict(self.answers)}
        del identity["batch_size"]
        return identity
