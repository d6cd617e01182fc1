"""Reads a split with MosaicML streaming and prints its documents as JSON."""

import json
import sys

from streaming import StreamingDataset

folder, split = sys.argv[1:]
for sample in StreamingDataset(local=folder, split=split, shuffle=False, batch_size=1):
    mask = sample["loss_mask"].tolist() if "loss_mask" in sample else None
    line = {key: sample[key] for key in ("id", "modality", "text")}
    print(json.dumps(line | {"ids": sample["ids"].tolist(), "mask": mask}))
