"""Token shards to filter, and `dvse filter` run on them."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.shard import ShardMetadata, shard_name, shard_schema, write_shard
from pipelines.cli import main


def row(id, ids=(1, 2, 3), **fields):
    empty = dict.fromkeys(shard_schema("uint16").names)
    return empty | {"id": id, "modality": "text", "ids": np.array(ids), "num_levels": 1} | fields


def write(folder, shards):
    folder.mkdir()
    bundle = Bundle.open(find_bundle("tiny"))
    metadata = ShardMetadata(
        bundle="tiny",
        bundle_fingerprint=bundle.fingerprint,
        vocabulary_fingerprint=bundle.vocabulary.fingerprint,
        vocabulary_size=bundle.vocabulary.size,
        profile={},
    ).to_schema_metadata()
    for number, rows in enumerate(shards):
        schema = shard_schema("uint16")
        write_shard(folder / shard_name(number), rows, schema=schema, metadata=metadata)
    return folder


def run(tokens, out, text):
    pytest.importorskip("datasketch")
    path = tokens.parent / "filters.toml"
    path.write_text(text)
    return main(["filter", str(tokens), str(out), "--filter", str(path)])


def read(folder, kind):
    paths = sorted(folder.glob(f"{kind}-*.parquet"))
    return [line for path in paths for line in pq.read_table(path).to_pylist()]
