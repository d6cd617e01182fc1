"""Token shards of random rows: every modality, odd names, texts, masks, an empty row."""

from pathlib import Path

import numpy as np

from dvse.storage.shard import ShardMetadata, shard_name, shard_schema, write_shard

MODALITIES = ("text", "image", "audio", "mixed")


def random_rows(number: int, count: int, *, masks: bool, size: int) -> list[dict]:
    """Rows of shard `number`; the fourth one has no ids."""
    rng = np.random.default_rng(number)
    rows = []
    for row in range(count):
        length = 0 if row == 3 else int(rng.integers(1, 60))
        modality = MODALITIES[row % 4]
        rows.append(
            {
                "id": f"ordner.{number}/bild.{row}.jpg" + ("#2" if row % 5 == 0 else ""),
                "modality": modality,
                "ids": rng.integers(0, size, length),
                "grid_h": 2 if modality == "image" else None,
                "grid_w": 3 if modality == "image" else None,
                "num_levels": 1,
                "duration_s": 0.5 if modality == "audio" else None,
                "frame_rate_hz": 50.0 if modality == "audio" else None,
                "durations": None,
                "text": f"Größe {row}\n图" if row % 3 == 0 else None,
                "loss_mask": rng.random(length) < 0.5 if masks and modality == "mixed" else None,
                "source": f"/daten/{number}/{row}",
                "sha256": None if modality == "text" else f"{number * 1000 + row:064x}",
            }
        )
    return rows


def write_folder(
    folder: Path,
    *,
    num_shards: int = 3,
    rows: int = 40,
    masks: bool = True,
    size: int = 9600,
    vocabulary: str = "v",
    bundle: str = "b",
) -> list[dict]:
    """Write shards and return the rows that have ids, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = ShardMetadata(
        bundle=bundle,
        bundle_fingerprint=f"fingerprint of {bundle}",
        vocabulary_fingerprint=vocabulary,
        vocabulary_size=size,
        profile={},
    ).to_schema_metadata()
    schema = shard_schema("uint16" if size <= 1 << 16 else "uint32")
    made = [random_rows(n, rows, masks=masks, size=size) for n in range(num_shards)]
    for number, some in enumerate(made):
        write_shard(folder / shard_name(number), some, schema=schema, metadata=metadata)
    return [row for some in made for row in some if len(row["ids"])]
