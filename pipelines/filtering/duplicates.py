"""Filters on duplicates: of the bytes of an input, and of nearly the same text.

The first one in input order stays. Both remember a little of every row that was kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dvse.errors import ConfigError, MissingExtraError, ShardError
from pipelines.filtering.row_filter import Refusal, RowFilter
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class ExactDuplicates(RowFilter):
    """Inputs whose bytes (SHA-256) were there before, here or in other jobs.

    Raises:
        ShardError: one of them has no shards.
    """

    name: ClassVar[str] = "exact_duplicates"
    columns: ClassVar[tuple[str, ...]] = ("id", "sha256")
    remembers: ClassVar[bool] = True
    against: tuple[str, ...] = setting((), "directories of token shards that came before")
    _seen: dict[bytes, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _against_sha256: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.against:
            from dvse.storage.shard import (  # needs pyarrow, a --help does not
                find_shards,
                read_shard,
            )
        for folder in self.against:
            paths = find_shards(Path(folder))
            if not paths:
                raise ShardError(f"[{self.name}] against {folder}: there are no token shards")
            for path in paths:
                for row in read_shard(path, ["id", "sha256"]).to_pylist():
                    self._remember(row["sha256"], f"{row['id']} of {folder}")
        digest = hashlib.sha256(b"".join(sorted(self._seen)))
        object.__setattr__(self, "_against_sha256", digest.hexdigest())

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Look the hash up; a row without one passes."""
        if row["sha256"] is None or (first := self._seen.get(_key(row["sha256"]))) is None:
            return None
        return Refusal(reason=f"the same bytes as {first}", score=1.0)

    def take(self, row: Mapping[str, Any]) -> None:
        """Remember the hash."""
        self._remember(row["sha256"], row["id"])

    def notes(self) -> Mapping[str, Any]:
        """Return a hash of what came before in other directories."""
        return {"against_sha256": self._against_sha256} if self.against else {}

    def _remember(self, sha256: str | None, name: str) -> None:
        if sha256 is not None:
            self._seen.setdefault(_key(sha256), name)


@dataclass(frozen=True, kw_only=True)
class NearDuplicateText(RowFilter):
    """Texts that share nearly all of their word groups with an earlier one (datasketch).

    Candidates come from locality-sensitive hashing; what is compared then is the estimate of the
    Jaccard similarity of the sets of `words` consecutive words (Broder 1997). Texts of fewer words
    pass. A few kilobytes are remembered of each text.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    name: ClassVar[str] = "near_duplicate_text"
    columns: ClassVar[tuple[str, ...]] = ("id", "text")
    remembers: ClassVar[bool] = True
    most: float = setting(0.8, "similarity from which a text is refused, 0 to 1")
    words: int = setting(3, "words a group")
    num_hashes: int = setting(128, "of the estimate; its standard error is 0.5 / sqrt of it")
    _index: Any = field(default=None, init=False, repr=False, compare=False)
    _hashes: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.most < 1 or self.words < 1 or self.num_hashes < 16:
            raise ConfigError(
                f"[{self.name}]: expected most in 0..1, words of at least 1 and num_hashes of at "
                f"least 16, received {self.most}, {self.words}, {self.num_hashes}"
            )
        try:
            from datasketch import MinHashLSH
        except ImportError:
            raise MissingExtraError.for_extra("datasketch", "filters") from None
        index = MinHashLSH(threshold=self.most, num_perm=self.num_hashes)
        object.__setattr__(self, "_index", index)

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Compare with the texts kept so far."""
        mine = self._hash(row["text"])
        if mine is None:
            return None
        found = [(mine.jaccard(self._hashes[name]), name) for name in self._index.query(mine)]
        similarity, name = max(found, default=(0.0, ""))
        if similarity < self.most:
            return None
        return Refusal(
            reason=f"{similarity:.0%} of its groups of {self.words} words as in {name}",
            score=float(similarity),
        )

    def take(self, row: Mapping[str, Any]) -> None:
        """Remember the text."""
        mine = self._hash(row["text"])
        if mine is not None:
            self._index.insert(row["id"], mine)
            self._hashes[row["id"]] = mine

    def _hash(self, text: str | None) -> Any:
        from datasketch import MinHash

        words = (text or "").casefold().split()
        if len(words) < self.words:
            return None
        made = MinHash(num_perm=self.num_hashes, seed=1)
        groups = {" ".join(words[n : n + self.words]) for n in range(len(words) - self.words + 1)}
        made.update_batch([group.encode() for group in sorted(groups)])
        return made


def _key(sha256: str) -> bytes:
    return bytes.fromhex(sha256)
