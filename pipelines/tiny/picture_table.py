"""The table of pictures that the encoder of `tiny` learns from: CIFAR-10, drawings, and odd ones.

    python -m pipelines.tiny.picture_table --data FOLDER --output FILE.parquet

An encoder that has only seen ten kinds shows whatever else it meets as one of them. Here every
eighth picture is none of the ten and is called `unknown`, and some of the ten are drawn.
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from pipelines.tiny.conversations.drawn_kinds import drawn_kind
from pipelines.tiny.conversations.odd_pictures import PHOTOGRAPHS, OddPictures, load_odd_pictures
from pipelines.tiny.conversations.scene import LABELS

UNKNOWN = "unknown"
"""Label of odd pictures; it sorts behind the ten, so that their numbers are the same without it."""

NUM_TRAINING = 45_000
NUM_DRAWN = 2_000
NUM_ODD = 6_000
TRAINING_ROWS = f"0:{NUM_TRAINING + NUM_DRAWN + NUM_ODD}"
VALIDATION_ROWS = f"{NUM_TRAINING + NUM_DRAWN + NUM_ODD}:"


def write_picture_table(
    cifar: Path,
    odd: OddPictures,
    output: Path,
    *,
    num_drawn: int = NUM_DRAWN,
    num_odd: int = NUM_ODD,
) -> Path:
    """Write columns `image` and `label`: training pictures, drawings, odd ones, validation.

    Args:
        cifar: Parquet with `image` (`bytes`, `path`) and `label`; rows from 45,000 are validation.
        odd: sources of odd pictures.
        output: Parquet file to write.
        num_drawn: drawings of the ten kinds.
        num_odd: odd pictures.
    """
    table = pq.read_table(cifar, columns=["image", "label"])
    rows = [
        {"image": {"bytes": _png(drawn_kind(label, rng)), "path": None}, "label": label}
        for i in range(num_drawn)
        for label, rng in [(LABELS[i % len(LABELS)], np.random.default_rng((10, i)))]
    ]
    rows += [
        {
            "image": {"bytes": _png(odd.draw(np.random.default_rng((11, i)))), "path": None},
            "label": UNKNOWN,
        }
        for i in tqdm(range(num_odd), desc="odd pictures", unit="img")
    ]
    added = pa.Table.from_pylist(rows, schema=table.schema)
    parts = [table.slice(0, NUM_TRAINING), added, table.slice(NUM_TRAINING)]
    output.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(parts), output)
    return output


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def main() -> int:
    """Write the table of the shipped bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, nargs="*", default=list(PHOTOGRAPHS))
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    odd = load_odd_pictures(photographs=tuple(args.photographs))
    print(f"{len(odd.stamps)} stamps, {len(odd.photographs)} photographs")
    print(write_picture_table(args.data / "cifar10-train.parquet", odd, args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
