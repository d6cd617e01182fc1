"""Reads a split with webdataset's own decoders and prints its documents as JSON."""

import json
import sys
from pathlib import Path

import webdataset

folder, split = sys.argv[1:]
tars = sorted(str(path) for path in (Path(folder) / split).glob("*.tar"))
for sample in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode():
    mask = sample["mask.npy"].tolist() if "mask.npy" in sample else None
    about = sample["json"]
    print(
        json.dumps(
            {
                "ids": sample["ids.npy"].tolist(),
                "mask": mask,
                "id": about["id"],
                "modality": about["modality"],
                "text": sample.get("txt"),
            }
        )
    )
