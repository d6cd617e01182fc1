"""The bundle that token shards are held against, without a weight of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvse.bundle_grammar import grammar_of
from dvse.errors import ConfigError, DvseError
from dvse.grammar import Grammar
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.shard import ShardMetadata

if TYPE_CHECKING:
    from dvse.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What rows are held against.

    Attributes:
        fingerprint: of the bundle.
        grammar: which of its ids may follow which.
    """

    fingerprint: str
    grammar: Grammar

    @classmethod
    def of_bundle(cls, name: str) -> "Reference":
        """Open a bundle by name, directory or Hub id.

        Raises:
            BundleError: it cannot be opened.
        """
        with named(name):
            bundle = Bundle.open(find_bundle(name))
            return cls(fingerprint=bundle.fingerprint, grammar=grammar_of(bundle))

    @classmethod
    def of_tokenizer(cls, tokenizer: "Tokenizer") -> "Reference":
        """Take what a loaded tokenizer knows."""
        return cls(fingerprint=tokenizer.fingerprint, grammar=tokenizer.grammar)

    def check(self, shard: str, metadata: ShardMetadata) -> None:
        """Refuse another bundle than the one that made a shard.

        Raises:
            ConfigError: with both fingerprints.
        """
        if self.fingerprint != metadata.bundle_fingerprint:
            raise ConfigError(
                f"{shard} was made by bundle {metadata.bundle!r} with fingerprint "
                f"{metadata.bundle_fingerprint[:16]}…, received one with "
                f"{self.fingerprint[:16]}…; name the right one with --bundle"
            )


@contextmanager
def named(bundle: str) -> Iterator[None]:
    """Let an error say which bundle it is about."""
    try:
        yield
    except DvseError as error:
        error.args = (f"the bundle {bundle!r} that made the shards: {error}",)
        raise
