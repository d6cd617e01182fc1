"""Beyond one process: two parts side by side against one job, and Ray's actors against processes.

Each process of the first comparison uses one processor (`--workers 0 --threads 1`), so that two
parts have twice the processors of the one job; the rest is what the parts cost each other.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench_image import _jpegs
from bench_job import _alternate, _in_folder, _KeptOpen, _run
from PIL import Image
from real_bundle import real_bundle
from timing import Pairs, Row

from pipelines.engines.local import LocalEngine

_NUM_PNG, _NUM_PHOTOS = 96, 1024
_NUM_WARM_UP = 64
# Each run takes from half a minute to more than one, so a few pairs say what seven would.
_PAIRS, _RAY_PAIRS = 3, 2


def rows() -> Iterator[Row]:
    """Yield all rows; about ten minutes on two cores."""
    for case in CASES.values():
        yield from case()


def _side_by_side(folder: Path) -> Iterator[Row]:
    source = _jpegs(folder / "jpeg", count=1, width=4000, height=3000)[0]
    (folder / "png").mkdir()
    with Image.open(source) as picture:
        picture.save(folder / "png" / "0.png", compress_level=1)
    for number in range(1, _NUM_PNG):
        (folder / "png" / f"{number}.png").hardlink_to(folder / "png" / "0.png")
    count = iter(range(1000))

    def ours() -> float:
        output = folder / f"parts{next(count)}"
        return _seconds(*(_command(folder, output, "--part", f"{n}/2") for n in (1, 2)))

    def peer() -> float:
        return _seconds(_command(folder, folder / f"one{next(count)}"))

    pairs = _alternate(ours, peer, count=_PAIRS)
    yield Row(
        name="parts.two_side_by_side",
        ours=pairs.ours,
        peer=pairs.peer,
        ratio=pairs.speedup / 2,
        bar=">= 0.90",
        note=f"{_NUM_PNG} 12-megapixel PNGs, --part 1/2 and 2/2 at the same time, one processor "
        "each, start-up included; peer: one job on one processor; ratio: to half of its time",
    )


def _command(folder: Path, output: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "pipelines.cli", "tokenize", str(folder / "png"), "--quiet"]
    options = ["--workers", "0", "--threads", "1", "--shard-size", "4"]
    return [*command, "--output", str(output), *options, *more]


def _seconds(*commands: list[str]) -> float:
    began = time.perf_counter()
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0] * len(processes)
    return time.perf_counter() - began


def _ray(folder: Path) -> Iterator[Row]:
    try:
        import ray  # noqa: F401
    except ImportError:
        return  # the extra `ray` is not installed
    from pipelines.engines.ray_engine import RayEngine

    bundle = real_bundle(folder / "bundle")
    photos = _jpegs(folder / "photos", count=_NUM_PHOTOS, width=500, height=375)
    engines = {
        "ray": _KeptOpen(RayEngine(num_workers=2)),
        "local": _KeptOpen(LocalEngine(num_workers=2)),
    }
    warm_up = [str(path) for path in photos[:_NUM_WARM_UP]]
    try:
        for name, engine in engines.items():
            _run(engine, bundle, warm_up, folder / name)
        whole = [str(folder / "photos")]
        seconds = [
            [_run(engine, bundle, whole, folder / name) for name, engine in engines.items()]
            for _ in range(_RAY_PAIRS)
        ]
    finally:
        for engine in engines.values():
            engine.really_close()
    ours_s, peer_s = (list(column) for column in zip(*seconds, strict=True))
    pairs = Pairs(ours_s=ours_s, peer_s=peer_s)
    yield Row(
        name="parts.ray_vs_local",
        ours=_NUM_PHOTOS / pairs.ours,
        peer=_NUM_PHOTOS / pairs.peer,
        ratio=pairs.speedup,
        bar=">= 0.85",
        unit="pictures/s",
        note=f"ViT-S on {_NUM_PHOTOS} JPEGs of 500x375, one node with 2 decode workers; peer: the "
        "same without Ray",
    )


CASES = {
    "side_by_side": _in_folder(_side_by_side),
    "ray": _in_folder(_ray),
}
