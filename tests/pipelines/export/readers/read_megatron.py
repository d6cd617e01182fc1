"""Reads a split with megatron-core, memory mapped and not, and prints its documents as JSON."""

import json
import sys
from pathlib import Path

from megatron.core.datasets.indexed_dataset import IndexedDataset

folder, split = sys.argv[1:]
prefix = str(Path(folder) / split)
data = IndexedDataset(prefix, multimodal=True, mmap=True)
plain = IndexedDataset(prefix, multimodal=True, mmap=False)
masks = None
if IndexedDataset.exists(f"{prefix}_loss_mask"):
    masks = IndexedDataset(f"{prefix}_loss_mask", multimodal=True, mmap=True)
assert data.document_indices.tolist() == list(range(len(data) + 1))
for number in range(len(data)):
    ids, mode = data[number]
    again, _ = plain[number]
    assert ids.tolist() == again.tolist()
    mask = None if masks is None else masks[number][0].tolist()
    print(json.dumps({"ids": ids.tolist(), "mask": mask, "mode": int(mode)}))
