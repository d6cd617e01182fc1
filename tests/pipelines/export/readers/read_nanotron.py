"""Reads a split with datatrove's data set, which nanotron uses, and prints its documents as JSON.

A window of one id (and the one after it) at a time, so none is lost at the end of a file.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datatrove.utils.dataset import DatatroveFolderDataset

folder, split = sys.argv[1:]
files = sorted((Path(folder) / split).glob("*.ds"))
head = files[0].with_name(files[0].name + ".metadata").read_text().splitlines()[0]
width = int(head.split("|")[1])
data = DatatroveFolderDataset(
    str(Path(folder) / split), seq_len=0, filename_pattern="*.ds", token_size=width
)
ids = np.concatenate([data[n]["input_ids"].numpy() for n in range(len(data))])
first = 0
for file in files:
    ends = np.fromfile(f"{file}.index", "<u8").astype(int).tolist()
    loss = np.fromfile(f"{file}.loss", bool) if Path(f"{file}.loss").exists() else None
    begin = 0
    for end in ends:
        mask = None if loss is None else loss[begin:end].tolist()
        print(json.dumps({"ids": ids[first + begin : first + end].tolist(), "mask": mask}))
        begin = end
    first += begin
