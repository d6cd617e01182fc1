"""Which pictures are refused before a training begins."""

import numpy as np

from dvse.errors import TrainingError
from pipelines.training.image.pictures import Pictures, parse_rows


def check_enough(pictures: Pictures, *, patch_size: int, num_codes: int) -> None:
    """Refuse pictures whose different patches are fewer than the codes.

    Raises:
        TrainingError: say one picture, or pictures that are all alike.
    """
    n, side = len(pictures), pictures.pixels.shape[1] // patch_size
    num_patches = n * side**2
    if num_patches < num_codes:
        raise TrainingError(
            f"expected at least as many patches as codes, received {num_patches} for "
            f"{num_codes} codes; add pictures or lower --num-codes"
        )
    different: set[bytes] = set()
    for start in range(0, n, 256):
        block = pictures.pixels[start : start + 256]
        grid = block.reshape(len(block), side, patch_size, side, patch_size, 3)
        patches = grid.transpose(0, 1, 3, 2, 4, 5).reshape(len(block) * side**2, -1)
        different.update(patch.tobytes() for patch in np.unique(patches, axis=0))
        if len(different) >= num_codes:
            return
    raise TrainingError(
        f"expected at least {num_codes} different patches, one a code, received {len(different)} "
        f"(pictures: {n}); add pictures that are less alike, or lower --num-codes"
    )


def check_apart(rows: str, validation_rows: str) -> None:
    """Refuse validation rows among those that are trained on.

    Raises:
        TrainingError: a row is in both.
    """
    train, held_out = parse_rows(rows), parse_rows(validation_rows)
    stop, held_stop = (s.stop if s.stop is not None else np.inf for s in (train, held_out))
    if (train.start or 0) < held_stop and (held_out.start or 0) < stop:
        raise TrainingError(
            f"expected validation rows outside the training rows, received {rows} and "
            f"{validation_rows}; a figure on pictures that were trained on says nothing"
        )
