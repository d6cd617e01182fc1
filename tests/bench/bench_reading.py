"""Packed reading of token shards against `datasets` and litdata: tokens a second, same lists.

All three give batches [8, 2048] of int64 ids in one process. Ours also says where documents
begin, which position an id has and which ids carry loss; the peers' batches are ids alone. The
ratio is our rate over the peer's, higher is better. A last row holds the rate of one rank of four
against that of one alone: windows are cut over ranks after the order was made, so a rank looks at
every shard.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from timing import Row, alternate

from dvse.dataset.mixture import Mixture
from dvse.dataset.token_dataset import TokenDataset
from dvse.encoding import Encoding, Span
from dvse.storage.shard import ShardMetadata, encoding_row, shard_name, shard_schema, write_shard

NUM_SHARDS, ROWS, MEAN_LENGTH = 16, 1000, 400
BATCH, LENGTH = 8, 2048


def rows() -> Iterator[Row]:
    """Yield a row a peer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = write_shards(folder / "shards")
        num_tokens = sum(map(len, documents))
        yield _mixture_row(folder, documents)
        peers = {"datasets": _datasets_reader(folder)}
        with contextlib.suppress(ImportError):  # pip install 'dvse[bench]'
            peers["litdata"] = _litdata_reader(folder, documents)
        for peer, read in peers.items():
            pairs = alternate(lambda: _read_ours(folder / "shards"), read)
            yield Row(
                name=f"reading.packed_vs_{peer}",
                ours=num_tokens / pairs.ours / 1e6,
                peer=num_tokens / pairs.peer / 1e6,
                ratio=pairs.speedup,
                bar=">= 1.5",
                unit="M tokens/s",
                note=f"{num_tokens:,} tokens in {len(documents):,} rows, batches "
                f"[{BATCH}, {LENGTH}], one process, shuffled",
            )
        share = alternate(
            lambda: _read_ours(folder / "shards", rank=1, num_ranks=4),
            lambda: _read_ours(folder / "shards"),
        )
        yield Row(
            name="reading.rank_of_four_vs_one",
            ours=num_tokens / 4 / share.ours / 1e6,
            peer=num_tokens / share.peer / 1e6,
            ratio=share.speedup / 4,
            unit="M tokens/s",
            note="tokens a second of one of four ranks, and of one alone",
        )


def _mixture_row(folder: Path, documents: list[np.ndarray]) -> Row:
    """Two halves of the shards mixed 7 to 3, against all of them as one set: tokens a second."""
    halves = [folder / "half-0", folder / "half-1"]
    for number, path in enumerate(sorted((folder / "shards").glob("*.parquet"))):
        half = halves[number % 2]
        half.mkdir(exist_ok=True)
        (half / path.name).hardlink_to(path)
    num_tokens = sum(map(len, documents))
    parts = [(halves[0], 0.7), (halves[1], 0.3)]

    def mixed() -> int:
        mixture = Mixture(parts, batch_size=BATCH, length=LENGTH, seed=1, num_ids=num_tokens)
        return sum(batch.input_ids.numel() for batch in mixture)

    pairs = alternate(mixed, lambda: _read_ours(folder / "shards"))
    return Row(
        name="reading.mixture_vs_one_set",
        ours=num_tokens / pairs.ours / 1e6,
        peer=num_tokens / pairs.peer / 1e6,
        ratio=pairs.speedup,
        bar=">= 0.9",
        unit="M tokens/s",
        note=f"{num_tokens:,} tokens, two sets 7 to 3; TokenDataset over both as one set",
    )


def write_shards(folder: Path) -> list[np.ndarray]:
    """Write token shards of random documents and return these."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    metadata = ShardMetadata(
        bundle="b",
        bundle_fingerprint="f",
        vocabulary_fingerprint="v",
        vocabulary_size=10_000,
        profile={},
    ).to_schema_metadata()
    documents = []
    for number in range(NUM_SHARDS):
        made = []
        for row in range(ROWS):
            ids = rng.integers(0, 9_000, rng.integers(1, 2 * MEAN_LENGTH))
            documents.append(ids)
            encoding = Encoding(
                ids=ids,
                modality_ids=np.zeros(len(ids), np.int8),
                spans=(Span(modality="text", start=0, stop=len(ids)),),
            )
            made.append(encoding_row(encoding, id=f"{number}-{row}", id_dtype="uint16"))
        schema = shard_schema("uint16")
        write_shard(folder / shard_name(number), made, schema=schema, metadata=metadata)
    return documents


def _read_ours(folder: Path, **share: int) -> int:
    dataset = TokenDataset(folder, batch_size=BATCH, length=LENGTH, seed=1, **share)
    return sum(batch.input_ids.numel() for batch in dataset)


def _datasets_reader(folder: Path):
    """The usual recipe: batches of rows, concatenated and cut into blocks."""
    import datasets
    import torch

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(folder / "shards" / "*.parquet"),
        split="train",
        cache_dir=str(folder / "cache"),
    ).select_columns(["ids"])

    def read() -> int:
        total = 0
        left = np.zeros(0, dtype=np.int64)
        need = BATCH * LENGTH
        streamed = loaded.to_iterable_dataset(num_shards=NUM_SHARDS).shuffle(
            seed=1, buffer_size=1000
        )
        for rows in streamed.with_format("numpy").iter(batch_size=256):
            left = np.concatenate([left, *rows["ids"]]).astype(np.int64, copy=False)
            while len(left) >= need:
                batch = torch.from_numpy(left[:need].reshape(BATCH, LENGTH))
                total += batch.numel()
                left = left[need:]
        return total

    return read


def write_litdata(target: Path, documents: list[np.ndarray]) -> None:
    """Write documents as chunks of tokens for litData."""
    import torch
    from litdata.streaming import TokensLoader
    from litdata.streaming.writer import BinaryWriter

    target.mkdir()
    writer = BinaryWriter(
        str(target), chunk_bytes="16MB", item_loader=TokensLoader(block_size=LENGTH)
    )
    for number, ids in enumerate(documents):
        writer.add_item(number, torch.from_numpy(ids.astype(np.int64)))
    writer.done()
    writer.merge()


def _litdata_reader(folder: Path, documents: list[np.ndarray]):
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import TokensLoader

    target = folder / "litdata"
    write_litdata(target, documents)

    def read() -> int:
        dataset = StreamingDataset(
            str(target), item_loader=TokensLoader(block_size=LENGTH), shuffle=True, seed=1
        )
        loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0)
        return sum(batch.numel() for batch in loader)

    return read
