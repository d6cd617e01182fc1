"""The batch job as a command, over few and many inputs: memory, time, resuming, start-up.

Text files keep the encoders out of it: what is measured is listing, processes, partitions and
shards. The command runs in a process of its own, as from a shell.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench_image import _jpegs
from bench_job import _alternate, _in_folder, _timed
from timing import Row

_PAIRS = 7
_FEW, _MANY = 1_000, 50_000


def rows() -> Iterator[Row]:
    """Yield all rows; about four minutes on two cores."""
    for case in CASES.values():
        yield from case()


def _inputs(folder: Path) -> Iterator[Row]:
    """1,000 against 50,000 small text files: memory, time an input, and resuming."""
    for count in (_FEW, _MANY):
        for number in range(count):
            if number % 1000 == 0:
                inner = folder / f"texts{count}" / f"{number // 1000:03d}"
                inner.mkdir(parents=True)
            text = f"This is text number {number} of a good many, and it is rather short."
            (inner / f"{number:06d}.txt").write_text(text, encoding="utf-8")
    measured = {}
    for count in (_FEW, _MANY):
        runs = [_tokenize_texts(folder, count) for _ in range(3)]
        measured[count] = [statistics.median(values) for values in zip(*runs, strict=True)]
    (few_bytes, few_s), (many_bytes, many_s) = measured[_FEW], measured[_MANY]
    yield Row(
        name="many.memory_50000_vs_1000",
        ours=many_bytes / 1e6,
        peer=few_bytes / 1e6,
        ratio=many_bytes / few_bytes,
        bar="<= 1.10",
        unit="MB",
        note="sum of the peak resident memory of all processes, 50,000 text files; peer: 1,000",
    )
    yield Row(
        name="many.time_per_input_50000_vs_1000",
        ours=many_s / _MANY * 1e3,
        peer=few_s / _FEW * 1e3,
        ratio=(many_s / _MANY) / (few_s / _FEW),
        bar="<= 1.10",
        unit="ms",
        note="working time an input, 50,000 text files; peer: 1,000",
    )
    command = _texts_command(folder, _MANY)
    resume = statistics.median(
        _timed(lambda: subprocess.run(command, check=True)) for _ in range(_PAIRS)
    )
    yield Row(
        name="many.resume_finished_50000",
        ours=resume,
        bar="<= 5",
        ratio=resume,
        unit="s",
        note="the same command again, from the shell; ratio is seconds",
    )


def _texts_command(folder: Path, count: int, *more: str) -> list[str]:
    source, output = folder / f"texts{count}", folder / f"texts-out{count}"
    command = [sys.executable, "-m", "pipelines.cli", "tokenize", str(source), "--quiet"]
    return [*command, "--output", str(output), *more]


def _tokenize_texts(folder: Path, count: int) -> tuple[int, float]:
    """Run the command; return the peak memory of all its processes together, and its seconds."""
    process = subprocess.Popen(_texts_command(folder, count, "--overwrite"))
    peaks: dict[int, int] = {}
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks))
    watcher.start()
    assert process.wait() == 0
    watcher.join()
    summary = json.loads((folder / f"texts-out{count}" / "summary.json").read_text())
    assert summary["num_rows"] == count
    return sum(peaks.values()), summary["work_seconds"]


def _watch(pid: int, peaks: dict[int, int]) -> None:
    """Note the high-water mark of each process of a tree until the first one ends."""
    while True:
        tree = _tree(pid)
        for process in tree:
            try:
                status = Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue  # it has ended meanwhile
            line = next((x for x in status.splitlines() if x.startswith("VmHWM")), None)
            if line is not None:
                peaks[process] = int(line.split()[1]) * 1024
        if not tree:
            return
        time.sleep(0.05)


def _tree(pid: int) -> list[int]:
    """A process and those below it; none once it has ended."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(p for child in children for p in _tree(int(child)))]


def _startup(folder: Path) -> Iterator[Row]:
    source = _jpegs(folder / "one", count=1, width=32, height=32)[0]
    command = [sys.executable, "-m", "pipelines.cli", "tokenize", str(source), "--quiet"]

    def ours() -> float:
        return _timed(
            lambda: subprocess.run(
                [*command, "--output", str(folder / "one-out"), "--overwrite"], check=True
            )
        )

    imports = "import torch, timm, transformers.models.wav2vec2.modeling_wav2vec2"

    def peer() -> float:
        return _timed(lambda: subprocess.run([sys.executable, "-c", imports], check=True))

    pairs = _alternate(ours, peer)
    yield Row(
        name="many.startup_to_first_shard",
        ours=pairs.ours,
        peer=pairs.peer,
        unit="s",
        note="dvse tokenize on one picture, from the shell to the shard on disk; peer: importing "
        "torch, timm and transformers alone",
    )


CASES = {"inputs": _in_folder(_inputs), "startup": _in_folder(_startup)}
