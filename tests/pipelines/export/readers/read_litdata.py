"""Reads a split with litData's TokensLoader, an id a block, and prints its documents as JSON.

Where a document ends stands in the table in front of a chunk, which TokensLoader does not show.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
from litdata import StreamingDataset
from litdata.streaming import TokensLoader


def read(folder: Path) -> list[list[int]]:
    data = StreamingDataset(str(folder), item_loader=TokensLoader(block_size=1), shuffle=False)
    ids = np.concatenate([data[n] for n in range(len(data))])
    documents, first = [], 0
    for chunk in json.loads((folder / "index.json").read_text())["chunks"]:
        count = chunk["chunk_size"]
        table = np.fromfile(folder / chunk["filename"], "<u4", count + 2)[1:].astype(int)
        ends = (table - table[0]) * chunk["dim"] // max(table[-1] - table[0], 1)
        documents += [ids[first + a : first + b] for a, b in itertools.pairwise(ends)]
        first += chunk["dim"]
    assert first == len(ids)
    return [document.tolist() for document in documents]


folder, split = sys.argv[1:]
documents = read(Path(folder) / split)
mask_folder = Path(folder) / f"{split}_loss_mask"
masks = read(mask_folder) if mask_folder.exists() else [None] * len(documents)
for ids, mask in zip(documents, masks, strict=True):
    print(json.dumps({"ids": ids, "mask": None if mask is None else [bool(m) for m in mask]}))
