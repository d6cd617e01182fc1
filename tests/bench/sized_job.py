"""The job of `bench_sizes.py` in a process of its own: sized_job.py FOLDER [FLAG…] prints JSON."""

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "pipelines" / "support")]

from fake_step import FakeStep  # noqa: E402

from pipelines.engines.inline import InlineEngine  # noqa: E402
from pipelines.job.config import JobConfig  # noqa: E402
from pipelines.job.job import Job  # noqa: E402


def main() -> None:
    """Run the job and print what it took."""
    folder, options = Path(sys.argv[1]), dict.fromkeys(sys.argv[2:], True)
    inputs, output = [str(folder / "in")], folder / "out"
    config = JobConfig(inputs=inputs, output=output, shard_size=1000, **options)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    summary = Job(config, FakeStep(), InlineEngine()).run()
    figures = {
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
        "planning_s": summary.seconds - summary.work_seconds,
        "peak_mb": _peak_kb() / 1000,
        "new_inputs": summary.new_inputs,
        "listing_mb": (output / ".job" / "listing.jsonl").stat().st_size / 1e6,
    }
    print(json.dumps(figures))


def _peak_kb() -> int:
    """Most resident memory. (That of `getrusage` is the parent's where it was more.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
