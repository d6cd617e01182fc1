"""fastabx's errors of an item file, run in its own environment: ITEM FOLDER DISTANCE."""

import json
import sys

import numpy as np
import torch


def main() -> None:
    """Print them."""
    from fastabx import zerospeech_abx

    item, folder, distance = sys.argv[1:]
    found = {
        f"{speaker} {context}": zerospeech_abx(
            item,
            folder,
            max_size_group=None,
            max_x_across=None,
            speaker=speaker,
            context=context,
            distance=distance,
            frequency=50,
            feature_maker=lambda path: torch.from_numpy(np.load(path)),
            extension=".npy",
        )
        for speaker in ("within", "across")
        for context in ("within", "any")
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
