"""Megatron Energon: WebDataset's tars, and what Energon asks about a data set in `.nv-meta`.

`dataset.yaml` (crude samples, to be cooked by the user's task encoder) and `split.yaml` are
written here. Indices are Energon's own and may change in any of its releases, so it makes them
itself: `energon prepare`, as `AFTERWARDS` says. It rewrites `split.yaml`; these two files are
therefore no part of what `dvse verify` holds against their hashes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pipelines.export.format import PieceRecord
from pipelines.export.output_file import FilePart, write_whole
from pipelines.export.plan import Plan
from pipelines.export.webdataset import WebDatasetFormat, tar_name

_DATASET = "__module__: megatron.energon\n__class__: CrudeWebdataset\n"


class EnergonFormat(WebDatasetFormat):
    """A data set for Megatron Energon, but for its indices."""

    name: ClassVar[str] = "energon"

    def finish(self, folder: Path, plan: Plan, records: Sequence[PieceRecord]) -> list[FilePart]:
        """Write what Energon reads before anything else."""
        lines = ["split_parts:"]
        for split in plan.splits:
            lines.append(f"  {split}:")
            lines += [f"  - {tar_name(piece)}" for piece in plan.of_split(split)]
        lines += ["exclude: []", ""]
        write_whole(folder, ".nv-meta/dataset.yaml", _DATASET.encode())
        write_whole(folder, ".nv-meta/split.yaml", "\n".join(lines).encode())
        return []

    def afterwards(self, folder: Path, plan: Plan) -> str | None:
        """Return the command that makes Energon's indices."""
        splits = ",".join(f"{split}:{split}/.*" for split in plan.splits)
        return f"energon prepare {folder} --non-interactive --split-parts '{splits}'"
