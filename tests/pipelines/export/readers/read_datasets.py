"""Reads a split with Hugging Face datasets and prints its documents as JSON."""

import json
import sys

import datasets

folder, split = sys.argv[1:]
for row in datasets.load_from_disk(folder)[split]:
    line = {key: row[key] for key in ("ids", "id", "modality", "text")}
    print(json.dumps(line | {"mask": row["loss_mask"]}))
