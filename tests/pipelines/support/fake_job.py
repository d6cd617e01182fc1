"""A job with the fake step as a process of its own: fake_job.py FOLDER OUTPUT [WORKERS [FLAG…]].

Flags are `append`, `redo_changed`, `retry_errors`, `flaky` for workers whose reads fail, and
`part=I/N`, `take_over=SECONDS`, `filters=FILE.toml` (on rows).
"""

# ruff: noqa: E402

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3])]

from fake_step import FakeStep
from flaky_reads import FlakyStep

from dvse.errors import DvseError
from dvse.remote.remote_path import location
from pipelines.engines.local import LocalEngine
from pipelines.filtering.filters import read_filters
from pipelines.filtering.work import FilterWork
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.part_job import PartJob


def main():
    folder, output = sys.argv[1:3]
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    flags = set(sys.argv[4:])
    step = FlakyStep() if "flaky" in flags else FakeStep()
    values = dict(flag.split("=") for flag in flags if "=" in flag)
    allowed = dict.fromkeys(flags - {"flaky", *(f"{k}={v}" for k, v in values.items())}, True)
    config = JobConfig(
        inputs=[folder],
        output=location(output),
        shard_size=8,
        part=values.get("part"),
        take_over_s=float(values["take_over"]) if "take_over" in values else None,
        **allowed,
    )
    filters = FilterWork(read_filters(Path(values["filters"]))) if "filters" in values else None
    job = Job if config.part is None else PartJob
    try:
        summary = job(config, step, LocalEngine(num_workers=workers), filters=filters).run()
    except DvseError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    if summary.stopped_by:
        print(f"stopped by {summary.stopped_by}")
        return {"SIGINT": 130, "SIGTERM": 143}[summary.stopped_by]
    print(summary.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
