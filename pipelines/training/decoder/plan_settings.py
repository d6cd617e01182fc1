"""What `dvse plan train` assumes. Plain values; knows no torch."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """The card, and what the recipe does not say.

    Raises:
        ConfigError: a value outside its range.
    """

    bundle: str = setting("tiny", "whose ids the decoder is to read")
    card_gib: float = setting(24.0, "memory of a card")
    cards: int = setting(1, "processes, which share what they hold with sharding = 'fsdp'")
    labelled_share: float = setting(1.0, "of the positions that carry loss, above 0 up to 1")
    shape: str | None = setting(
        None, "a preset that stands for the recipe's checkpoint, such as 9b", metavar="PRESET"
    )

    def __post_init__(self) -> None:
        if self.card_gib <= 0 or self.cards < 1 or not 0 < self.labelled_share <= 1:
            raise ConfigError(
                "expected at least one card of more than 0 GiB and a share of labels above 0 up to "
                f"1, received {self.cards}, {self.card_gib:g} and {self.labelled_share:g}"
            )
