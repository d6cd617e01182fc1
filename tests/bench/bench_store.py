"""Reading token shards from an S3 server on loopback, with the local cache warm: tokens a second.

Ours is held against ours from the disk (the bar), and against litData and Mosaic streaming that
read the same documents from the same server, each with its own cache warm. Data sets are opened
once, as a training does, and passes are timed; the first pass, which fetches, is a row of its own.
The server is moto's, in a process of its own; a peer that is not installed is left out
(pip install 'dvse[bench]').
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from bench_reading import BATCH, LENGTH, write_litdata, write_shards
from timing import Row, alternate

from dvse.dataset.token_dataset import TokenDataset
from dvse.storage.local_cache import LocalCache

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def rows() -> Iterator[Row]:
    """Yield a row a comparison."""
    with tempfile.TemporaryDirectory() as name, _server(Path(name)) as address:
        folder = Path(name)
        documents = write_shards(folder / "shards")
        num_tokens = sum(map(len, documents))
        _upload(folder / "shards", "shards")
        note = f"{num_tokens:,} tokens, batches [{BATCH}, {LENGTH}], one process, cache warm"
        cache = LocalCache(folder=folder / "cache")
        remote = _ours("s3://bench/shards", cache=cache)
        local = _ours(folder / "shards")
        began = time.perf_counter()
        remote()
        first_s = time.perf_counter() - began
        pairs = alternate(remote, local)
        yield Row(
            name="store.warm_vs_disk",
            ours=num_tokens / pairs.ours / 1e6,
            peer=num_tokens / pairs.peer / 1e6,
            ratio=pairs.speedup,
            bar=">= 0.8",
            unit="M tokens/s",
            note=f"{note}; peer: ours from the disk",
        )
        yield Row(
            name="store.first_pass",
            ours=num_tokens / first_s / 1e6,
            unit="M tokens/s",
            note="the pass that fetches the shards and makes flat copies of them",
        )
        peers: dict[str, Callable[[], int]] = {}
        with contextlib.suppress(ImportError):
            peers["litdata"] = _litdata(folder, documents, address)
        with contextlib.suppress(ImportError):
            peers["streaming"] = _streaming(folder, address)
        for peer, read in peers.items():
            pairs = alternate(remote, read)
            yield Row(
                name=f"store.warm_vs_{peer}",
                ours=num_tokens / pairs.ours / 1e6,
                peer=num_tokens / pairs.peer / 1e6,
                ratio=pairs.speedup,
                unit="M tokens/s",
                note=note,
            )


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    known = {**_ENVIRONMENT, "AWS_ENDPOINT_URL": address, "S3_ENDPOINT_URL": address}
    before = {name: os.environ.get(name) for name in known}
    os.environ.update(known)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), urlopen(address):
                break
            time.sleep(0.1)
        _client().create_bucket(Bucket="bench")
        yield address
    finally:
        process.terminate()
        process.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _client():
    import boto3

    return boto3.client("s3")


def _upload(folder: Path, prefix: str) -> None:
    client = _client()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        client.upload_file(str(path), "bench", f"{prefix}/{path.relative_to(folder)}")


def _ours(place: str | Path, **options: LocalCache) -> Callable[[], int]:
    dataset = TokenDataset(place, batch_size=BATCH, length=LENGTH, seed=1, **options)
    return lambda: sum(batch.input_ids.numel() for batch in dataset)


def _litdata(folder: Path, documents: list[np.ndarray], address: str) -> Callable[[], int]:
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import TokensLoader, downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"  # else it knows https alone
    write_litdata(folder / "litdata", documents)
    _upload(folder / "litdata", "litdata")
    dataset = StreamingDataset(
        "s3://bench/litdata",
        item_loader=TokensLoader(block_size=LENGTH),
        shuffle=True,
        seed=1,
        cache_dir=str(folder / "litdata-cache"),
        storage_options={"endpoint_url": address},
    )
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0)
    return lambda: sum(batch.numel() for batch in loader)


def _streaming(folder: Path, address: str) -> Callable[[], int]:
    """Whole documents, concatenated and cut into blocks, as its users do."""
    import torch
    from streaming import StreamingDataset

    from pipelines.export.export import export
    from pipelines.export.formats import find_format
    from pipelines.export.settings import ExportSettings

    settings = ExportSettings(tokens=folder / "shards", output=folder / "mds")
    export(find_format("mds"), settings)
    _upload(folder / "mds" / "train", "mds")
    dataset = StreamingDataset(
        remote="s3://bench/mds",
        local=str(folder / "mds-cache"),
        shuffle=True,
        shuffle_seed=1,
        batch_size=BATCH,
    )

    def read() -> int:
        total, need, held, size = 0, BATCH * LENGTH, [], 0
        for sample in dataset:
            held.append(sample["ids"])
            size += len(sample["ids"])
            if size >= need:
                flat = np.concatenate(held).astype(np.int64)
                while len(flat) >= need:
                    total += torch.from_numpy(flat[:need].reshape(BATCH, LENGTH)).numel()
                    flat = flat[need:]
                held, size = [flat], len(flat)
        return total

    return read
