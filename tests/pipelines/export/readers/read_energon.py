"""Reads a split with Megatron Energon, indices made as `energon prepare` does, as JSON."""

import contextlib
import io
import json
import sys
from pathlib import Path

from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    WorkerConfig,
    get_loader,
    get_val_dataset,
    stateless,
)
from megatron.energon.flavors.webdataset import BaseWebdatasetFactory


@stateless
def cook(sample: dict) -> dict:
    return {
        "__key__": sample["__key__"],
        "__restore_key__": sample["__restore_key__"],
        "__subflavors__": sample.get("__subflavors__"),
        "ids": sample["ids.npy"],
        "mask": sample.get("mask.npy"),
        "about": sample["json"],
        "text": sample.get("txt"),
    }


class Encoder(DefaultTaskEncoder):
    cookers = [Cooker(cook)]

    def batch(self, samples):
        return samples

    def encode_batch(self, batch):
        return batch


if __name__ == "__main__":
    folder, split = sys.argv[1:]
    tars = sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*.tar"))
    with contextlib.redirect_stdout(io.StringIO()):
        BaseWebdatasetFactory.prepare_dataset(
            Path(folder),
            tars,
            split_parts_patterns=[(split, f"{split}/.*")],
            shuffle_seed=None,
            workers=1,
        )
    config = WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = get_val_dataset(
        folder, split_part=split, worker_config=config, batch_size=1, task_encoder=Encoder()
    )
    for batch in get_loader(dataset):
        for sample in batch:
            mask = sample["mask"]
            print(
                json.dumps(
                    {
                        "ids": sample["ids"].tolist(),
                        "mask": None if mask is None else mask.tolist(),
                        "id": sample["about"]["id"],
                        "modality": sample["about"]["modality"],
                        "text": sample["text"],
                    }
                )
            )
