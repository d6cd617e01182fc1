"""Exports against writing the same bytes plainly: from token shards to durable files.

`ours` reads the shards, writes `.bin`, `.idx` and provenance with hashes and a journal, and flushes
them. `plain` reads the ids of the same shards with pyarrow and writes the same bytes to two files,
flushed; `from_memory` has the bytes ready and only writes and flushes them. The ratio is the peer's
time over ours, higher is better.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from timing import Row, alternate

from dvse.storage.shard import ShardMetadata, shard_name, shard_schema, write_shard
from pipelines.export.export import export
from pipelines.export.formats import find_format
from pipelines.export.settings import ExportSettings

NUM_SHARDS, ROWS, MEAN_LENGTH = 32, 2000, 1000


def rows() -> Iterator[Row]:
    """Yield a row a peer."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        num_ids = _write_shards(folder / "tokens")
        out, plain = folder / "megatron", folder / "plain"
        settings = ExportSettings(tokens=folder / "tokens", output=out)
        export(find_format("megatron"), settings)
        index = (out / "train.idx").read_bytes()
        data = (out / "train.bin").read_bytes()

        def ours() -> None:
            shutil.rmtree(out, ignore_errors=True)
            export(find_format("megatron"), settings)

        def read() -> Iterator[memoryview]:
            for path in sorted((folder / "tokens").glob("*.parquet")):
                for batch in pq.ParquetFile(path).iter_batches(1024, columns=["ids"]):
                    yield batch.column(0).flatten().to_numpy().data

        peers = {
            "plain": lambda: _write_plainly(plain, read(), index),
            "from_memory": lambda: _write_plainly(plain, [memoryview(data)], index),
        }
        for name, peer in peers.items():
            yield alternate(ours, peer).row(
                f"export.megatron_vs_{name}",
                bar=">= 0.8" if name == "plain" else None,
                note=f"{num_ids:,} ids in {NUM_SHARDS} shards of {ROWS:,} rows, one process",
            )


def _write_plainly(folder: Path, ids: Iterable[memoryview], index: bytes) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, parts in (("bin", ids), ("idx", [index])):
        with (folder / name).open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())


def _write_shards(folder: Path) -> int:
    folder.mkdir()
    rng = np.random.default_rng(0)
    metadata = ShardMetadata(
        bundle="b",
        bundle_fingerprint="f",
        vocabulary_fingerprint="v",
        vocabulary_size=9_600,
        profile={},
    ).to_schema_metadata()
    total = 0
    for number in range(NUM_SHARDS):
        made = []
        for row in range(ROWS):
            ids = rng.integers(0, 9_000, rng.integers(1, 2 * MEAN_LENGTH))
            total += len(ids)
            empty = dict.fromkeys(shard_schema("uint16").names)
            made.append(
                empty | {"id": f"{number}-{row}", "modality": "text", "ids": ids, "num_levels": 1}
            )
        write_shard(
            folder / shard_name(number), made, schema=shard_schema("uint16"), metadata=metadata
        )
    return total
