"""Proof that token shards are whole and still come out the same: what `dvse verify` does.

Every shard: its hash, its metadata against the bundle's, every row against the grammar, names
unique, rows and error lines together as many as inputs. Then a sample of inputs is read and
tokenised again, each alone, and every differing code is reported. Weights, and torch, are loaded
for that sample alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from dvse.errors import InputError, ShardError
from dvse.numerics import NumericsProfile
from dvse.remote.remote_path import Location
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import (
    PATTERN,
    find_shards,
    read_metadata,
    read_shard,
    shard_number,
)
from pipelines.job.done_marker import DoneMarker
from pipelines.job.inputs_today import differences_today
from pipelines.job.kept_codes import KeptCodes
from pipelines.job.missing_parts import missing_parts
from pipelines.job.open_journal import open_journal
from pipelines.job.plan import Plan
from pipelines.job.reference import Reference, named
from pipelines.job.row_check import check_row
from pipelines.job.unique_names import UniqueNames
from pipelines.job.verification_settings import VerificationSettings
from pipelines.sources.loading import load as load_record
from pipelines.sources.registry import SourceOptions

if TYPE_CHECKING:
    from dvse.precision import Precision
    from dvse.tokenizer import Tokenizer

_MOST_PER_SHARD, _MOST_SHARDS = 5, 1000


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Attributes:
        problems: sentences, each naming the shard; empty means that all is well.
        kept: lines on what another precision would change; no problem either way.
        num_left_out: shards that were not looked at, beside `num_shards` that were.
        num_shards, num_rows, num_ids: looked at.
        num_filtered: inputs that filters refused.
        num_sampled: inputs tokenised again, with `num_codes` ids, of which `num_differing` differ.
        num_gone: sampled inputs that could not be compared, as they have changed or are gone.
    """

    num_shards: int = 0
    num_rows: int = 0
    num_ids: int = 0
    num_filtered: int = 0
    num_sampled: int = 0
    num_codes: int = 0
    num_differing: int = 0
    num_gone: int = 0
    num_left_out: int = 0
    problems: Sequence[str] = field(default_factory=tuple)
    kept: Sequence[str] = field(default_factory=tuple)

    def table(self) -> str:
        """Return it as lines for people."""
        state = f"{len(self.problems)} problems" if self.problems else "all well"
        left_out = f" ({self.num_left_out:,} more with --deep)" if self.num_left_out else ""
        return (
            f"{self.num_shards:,} shards{left_out}, {self.num_rows:,} rows, "
            f"{self.num_ids:,} ids checked; "
            + (f"{self.num_filtered:,} inputs refused by filters; " if self.num_filtered else "")
            + f"{self.num_sampled:,} inputs tokenised again alone: {self.num_differing:,} of "
            f"{self.num_codes:,} ids differ"
            + (f", {self.num_gone:,} inputs have changed or are gone" if self.num_gone else "")
            + f"; {state}"
            + "".join(f"\n{line}" for line in self.kept)
        )


def verify(
    folder: Location,
    settings: VerificationSettings | None = None,
    *,
    tokenizer: "Tokenizer | None" = None,
) -> Verification:
    """Check a directory of token shards.

    Args:
        folder: that `dvse tokenize` wrote, or a copy of its shards.
        settings: the bundle, and what is tokenised again.
        tokenizer: to use instead of loading one.

    Raises:
        ShardError: there is no shard at all.
        BundleError: the bundle cannot be loaded.
        ConfigError: another bundle than the one that made the shards, or a precision that the
            device cannot compute.
    """
    return _Verifier(folder, settings or VerificationSettings()).run(tokenizer)


class _Verifier:
    def __init__(self, folder: Location, settings: VerificationSettings) -> None:
        self._folder, self._settings = folder, settings
        self._kept: tuple[str, ...] = ()
        self._journal = open_journal(folder)
        self._markers = self._journal.markers() if self._journal.exists() else {}
        self._by_name = {marker.file_name: marker for marker in self._markers.values()}
        self._problems: list[str] = []
        self._counts = dict.fromkeys(
            (
                "num_rows",
                "num_ids",
                "num_filtered",
                "num_sampled",
                "num_codes",
                "num_differing",
                "num_gone",
            ),
            0,
        )

    def run(self, tokenizer: "Tokenizer | None") -> Verification:
        paths = find_shards(self._folder)
        self._check_journal(paths)
        num_shards = len(paths)
        if num_shards > _MOST_SHARDS and not self._settings.is_deep:
            rng = np.random.default_rng(self._settings.seed)
            paths = [paths[i] for i in sorted(rng.choice(num_shards, _MOST_SHARDS, replace=False))]
        readable = [path for path in paths if self._is_intact(path)]
        if not readable:
            if not paths:
                raise ShardError(f"{self._folder}: expected {PATTERN}, found none")
            return self._result(len(paths), num_shards)
        first = read_metadata(readable[0])
        name = self._settings.bundle or first.bundle
        reference = (
            Reference.of_bundle(name) if tokenizer is None else Reference.of_tokenizer(tokenizer)
        )
        reference.check(readable[0].name, first)
        names = UniqueNames()
        for path in readable:
            self._check_shard(path, reference, names)
        self._check_inputs()
        if self._settings.num_samples and self._markers:
            tokenizer = tokenizer or _load(name, self._settings.device, first.profile)
            self._tokenize_again(tokenizer)
        return self._result(len(paths), num_shards)

    def _result(self, num_looked_at: int, num_shards: int) -> Verification:
        return Verification(
            num_shards=num_looked_at,
            num_left_out=num_shards - num_looked_at,
            problems=tuple(self._problems),
            kept=self._kept,
            **self._counts,
        )

    def _check_journal(self, paths: Sequence[Location]) -> None:
        if not self._journal.exists():
            return
        there = {path.name for path in paths}
        expected = {marker.file_name for marker in self._markers.values()}
        for name in sorted(expected - there):
            self._problems.append(f"{name}: missing; run dvse tokenize again to repair it")
        for name in self._journal.orphans(self._markers):
            is_second = shard_number(name) in self._markers
            what = "an orphan, which no done-marker names" if is_second else "not finished"
            self._problems.append(f"{name}: {what}; run dvse tokenize again to repair it")
        for marker in self._markers.values():
            self._check_lines(marker)
        job = self._journal.read_job()
        found, wanted = sum(m.num_inputs for m in self._markers.values()), job.get("num_inputs")
        if wanted is not None and found < wanted:
            self._problems.append(
                f"{found:,} of {wanted:,} inputs are done; run dvse tokenize again to finish"
            )
        size = job["identity"]["shard_size"]
        self._problems += missing_parts(self._journal, self._markers.keys(), size)

    def _check_lines(self, marker: DoneMarker) -> None:
        """Inputs are rows, errors and filtered ones together, and no line of these is lost."""
        name, damage = marker.file_name, self._journal.damage(marker)
        if damage is not None:
            if not damage.startswith(name):
                self._problems.append(f"{damage}; run dvse tokenize again to repair {name}")
            return
        lines = len(self._journal.errors(marker)), len(self._journal.filtered(marker))
        counts = marker.num_errors, marker.num_filtered
        if lines != counts or marker.num_rows + sum(counts) != marker.num_inputs:
            self._problems.append(
                f"{name}: {marker.num_inputs} inputs, of them {marker.num_rows} rows, and lines "
                f"for {lines[0]} errors and {lines[1]} filtered ones; expected {counts}"
            )
        self._counts["num_filtered"] += marker.num_filtered

    def _check_inputs(self) -> None:
        """What the inputs hold now, where their size or time is another one."""
        if not self._journal.exists():
            return
        job = self._journal.read_job()
        sound = {
            number: marker
            for number, marker in self._markers.items()
            if self._journal.damage(marker) is None
        }
        self._problems += differences_today(
            self._journal,
            sound,
            size=job["identity"]["shard_size"],
            options=SourceOptions.of_job(job),
        )

    def _is_intact(self, path: Location) -> bool:
        marker = self._marker(path)
        try:
            read_metadata(path)
            if marker is None or file_sha256(path) == marker.sha256:
                return True
            reason = "its hash is not the one recorded"
        except (ShardError, OSError) as error:
            reason = str(error)
        if marker is not None:
            # A run trusts a shard that has not been touched since it was written.
            self._journal.distrust(marker)
        self._problems.append(f"{path.name}: corrupt ({reason}); run dvse tokenize to repair it")
        return False

    def _check_shard(self, path: Location, reference: Reference, names: UniqueNames) -> None:
        metadata = read_metadata(path)
        vocabulary = reference.grammar.vocabulary
        found: list[str] = []
        for what, here, there in (
            ("bundle", metadata.bundle_fingerprint, reference.fingerprint),
            ("vocabulary", metadata.vocabulary_fingerprint, vocabulary.fingerprint),
        ):
            if here != there:
                found.append(f"made by another {what} ({here[:16]}…) than the others")
        try:
            table = read_shard(path)
        except ShardError as error:
            self._problems.append(str(error))
            return
        lengths = [len(row["ids"]) for row in _rows(table)]
        if lengths != metadata.lengths.tolist():
            found.append("the lengths in its metadata are not those of its rows")
        marker = self._marker(path)
        if marker is not None and marker.num_rows != len(lengths):
            found.append(f"{len(lengths)} rows, {marker.num_rows} recorded")
        for number, row in enumerate(_rows(table)):
            if names.claim(row["id"]) != row["id"]:
                found.append(f"row {number}: the name {row['id']!r} is taken already")
            for problem in check_row(row, reference.grammar):
                found.append(f"row {number} ({row['id']}): {problem}")
        self._counts["num_rows"] += len(lengths)
        self._counts["num_ids"] += sum(lengths)
        self._problems += [f"{path.name}: {problem}" for problem in found[:_MOST_PER_SHARD]]
        if len(found) > _MOST_PER_SHARD:
            self._problems.append(f"{path.name}: and {len(found) - _MOST_PER_SHARD} more problems")

    def _tokenize_again(self, tokenizer: "Tokenizer") -> None:
        chosen = self._choose()
        options = SourceOptions.of_job(self._journal.read_job())
        plan = Plan(self._journal.listing, options, stream_lengths=self._journal.stream_lengths())
        drift = self._drift(tokenizer)
        other, kept = None, None
        if (against := self._settings.against_precision) is not None:
            other = _in_precision(tokenizer, against)
            kept = KeptCodes(against, tokenizer.vocabulary)
        for index, record in plan.records((i, i + 1) for i in sorted(chosen)):
            assert record is not None, "a row of an input that went away"
            shard, row = chosen[index]
            where = f"{shard}: row of {record.source}"
            try:
                if record.failure is not None:
                    raise InputError(record.failure.reason)
                loaded, items = load_record(record)
                if loaded.sha256 != row["sha256"]:
                    raise InputError("its bytes are not those that were tokenised")
                ids = tokenizer.encode(items).ids
                if other is not None and kept is not None:
                    kept.add(row["ids"], other.encode(items))
            except InputError as error:
                self._counts["num_gone"] += 1
                self._problems.append(f"{where}: cannot be compared; {error}")
                continue
            self._compare(where, row["ids"], ids.tolist(), tokenizer, drift)
        self._kept = tuple(kept.lines()) if kept else ()

    def _compare(
        self,
        where: str,
        stored: Sequence[int],
        now: Sequence[int],
        tokenizer: "Tokenizer",
        drift: str,
    ) -> None:
        self._counts["num_sampled"] += 1
        self._counts["num_codes"] += len(stored)
        differing = [
            (position, a, b) for position, (a, b) in enumerate(zip_longest(stored, now)) if a != b
        ]
        self._counts["num_differing"] += len(differing)
        for position, a, b in differing:
            before, after = ("nothing" if i is None else tokenizer.name_of(int(i)) for i in (a, b))
            self._problems.append(
                f"{where}: position {position}: {before} in the shard, {after} now{drift}"
            )

    def _choose(self) -> dict[int, tuple[str, dict[str, Any]]]:
        """Pick inputs that have rows: number of the input → shard and row."""
        markers = [
            m
            for m in self._markers.values()
            if m.num_rows and not any(p.startswith(self._name(m)) for p in self._problems)
        ]
        rng = np.random.default_rng(self._settings.seed)
        counts = np.array([m.num_rows for m in markers], dtype=np.int64)
        total = int(counts.sum())
        picked = np.sort(
            rng.choice(total, size=min(self._settings.num_samples, total), replace=False)
        )
        ends = np.cumsum(counts)
        chosen = {}
        for number, marker in enumerate(markers):
            first = int(ends[number] - counts[number])
            mine = picked[(picked >= first) & (picked < ends[number])] - first
            if not len(mine):
                continue
            table = read_shard(self._journal.shard(marker), ["ids", "sha256"])
            without = {line.index for line in self._journal.lines(marker)}
            indexes = marker.row_numbers(without)
            for row in mine.tolist():
                chosen[indexes[row]] = self._name(marker), table.slice(row, 1).to_pylist()[0]
        return chosen

    def _drift(self, tokenizer: "Tokenizer") -> str:
        recorded = NumericsProfile.from_dict(self._journal.read_job()["profile"])
        lines = tokenizer.profile.differences(recorded)
        return f" (the numerics profile differs: {'; '.join(lines)})" if lines else ""

    def _marker(self, path: Location) -> DoneMarker | None:
        return self._by_name.get(path.name)

    def _name(self, marker: DoneMarker) -> str:
        return marker.file_name


def _in_precision(tokenizer: "Tokenizer", precision: "Precision") -> "Tokenizer":
    from dvse.tokenizer import load

    origin = tokenizer.origin
    assert origin is not None, "loaded by name"
    return load(origin.source, **{**origin.how(), "precision": precision})


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=512):
        yield from batch.to_pylist()


def _load(bundle: str, device: str | None, profile: Any) -> "Tokenizer":
    from dvse.tokenizer import load

    with named(bundle):
        return load(
            bundle,
            device=device or profile["device"],
            threads=profile.get("threads") or None,
            precision=profile.get("precision", "float32"),
            batch_tokens=profile.get("batch_tokens"),
        )
