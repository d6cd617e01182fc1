"""Hashes of 64 bits that were seen, found again within a few bits, in bounded memory.

Multi-index hashing (Norouzi, Punjani, Fleet 2012, "Fast Search in Hamming Space with Multi-Index
Hashing"): a hash is cut into bands, so many that of two near hashes one band differs in at most one
bit. Looking up each band as it is and with each of its bits turned round finds every candidate.
The table is SQLite's, in a temporary file of this process: what its cache does not hold lies on the
disk.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

BITS = 64

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
BEGIN;
CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE bands (
    band INTEGER, bits INTEGER, number INTEGER, hash INTEGER, PRIMARY KEY (band, bits, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class NearHash:
    """A hash that was found: in how many bits it differs, and whose it is."""

    distance: int
    name: str


class NearHashes:
    """A growing set of hashes (0 … 2⁶⁴-1) with names. It goes to other processes empty.

    Args:
        most_bits: bits in which hashes may differ to be near, at least 0.
        cache_mib: MiB of the table that are held in memory.

    >>> hashes = NearHashes(most_bits=4)
    >>> hashes.add(0b1111, "a")
    >>> hashes.nearest(0b1010)
    NearHash(distance=2, name='a')
    """

    def __init__(self, *, most_bits: int, cache_mib: int = 64) -> None:
        self._most_bits, self._cache_mib = most_bits, cache_mib
        num_bands = max(2, most_bits // 2 + 1)
        edges = [BITS * n // num_bands for n in range(num_bands + 1)]
        self._bands = [(low, high - low) for low, high in pairwise(edges)]
        self._turns_bits = most_bits >= num_bands
        self._database: sqlite3.Connection | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the table behind."""
        return {**self.__dict__, "_database": None}

    def add(self, hash: int, name: str) -> None:
        """Remember a hash."""
        rows = self._rows()
        number = rows.execute("INSERT INTO names (name) VALUES (?)", (name,)).lastrowid
        lines = [
            (band, _signed(bits), number, _signed(hash))
            for band, bits in enumerate(self._cut(hash))
        ]
        rows.executemany("INSERT INTO bands VALUES (?, ?, ?, ?)", lines)

    def nearest(self, hash: int) -> NearHash | None:
        """Return the nearest that is near, of equally near ones the first; `None` without one."""
        found = (
            ((hash ^ other % (1 << BITS)).bit_count(), number)
            for band, bits in enumerate(self._cut(hash))
            for number, other in self._of_band(band, bits)
        )
        distance, number = min(found, default=(BITS + 1, 0))
        if distance > self._most_bits:
            return None
        rows = self._rows().execute("SELECT name FROM names WHERE number = ?", (number,))
        return NearHash(distance=distance, name=rows.fetchone()[0])

    def _cut(self, hash: int) -> Iterator[int]:
        """The bits of each band."""
        return (hash >> low & (1 << width) - 1 for low, width in self._bands)

    def _of_band(self, band: int, bits: int) -> Iterator[tuple[int, int]]:
        """Numbers and hashes that have these bits in a band, or but for one of them."""
        _, width = self._bands[band]
        turned = [bits ^ 1 << n for n in range(width)] if self._turns_bits else []
        wanted = [_signed(one) for one in (bits, *turned)]
        marks = ",".join("?" * len(wanted))
        yield from self._rows().execute(
            f"SELECT number, hash FROM bands WHERE band = ? AND bits IN ({marks})",
            (band, *wanted),
        )

    def _rows(self) -> sqlite3.Connection:
        if self._database is None:
            # No name: a file of SQLite's own, gone with the process however that ends. Nothing is
            # ever committed, so pages are written when the cache is full and not before.
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.execute(f"PRAGMA cache_size = -{self._cache_mib << 10}")
            self._database.executescript(_TABLES)
        return self._database


def _signed(bits: int) -> int:
    """As SQLite has whole numbers: of 64 bits with a sign."""
    return bits - (1 << BITS) if bits >> BITS - 1 else bits
