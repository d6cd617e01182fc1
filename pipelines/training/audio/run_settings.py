"""All settings of `dvse train bpe`, each said once; flags follow."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Everything that decides which runs of units `train_runs` learns.

    Raises:
        ConfigError: fewer ids than one to learn from.
    """

    tokens: tuple[Location, ...] = setting(
        help="token shards with recordings, all of one bundle", metavar="DIR", many="words"
    )
    bundle: str = setting(help="the bundle that made them", metavar="BUNDLE")
    num_runs: int = setting(1024, "runs to learn, behind those that the bundle has")
    max_ids: int = setting(
        20_000_000, "learn from about so many ids, of recordings drawn at random"
    )
    seed: int = setting(0, "of the draw")

    def __post_init__(self) -> None:
        if self.max_ids < 1:
            raise ConfigError(f"--max-ids: expected at least 1, received {self.max_ids}")
