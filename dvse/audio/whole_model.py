"""A model of transformers with all of its weights in it, or a reason.

transformers fills what a file does not hold with random numbers and goes on. A code would then be
another one each time that the file is loaded, so here every tensor has to be there, and finite.
"""

from collections.abc import Collection, Iterable
from typing import Any

import torch

from dvse.errors import BundleNotFoundError, UnsafeFileError, WeightsFormatError


def whole_model(
    model_class: Any, source: str, *, may_miss: Collection[str] = (), **options: Any
) -> Any:
    """Return the model in fp32.

    Args:
        model_class: of transformers.
        source: a directory or a Hub name.
        may_miss: tensors that need not be there.
        options: of `from_pretrained`.

    Raises:
        BundleNotFoundError: its weights are not there, damaged, or cannot be fetched.
        UnsafeFileError: they are a pickle of other things than tensors.
        WeightsFormatError: not whole, of another shape, or not finite.
    """
    try:
        model, found = model_class.from_pretrained(
            source,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except Exception as error:  # missing files, damage and pickles, of many kinds
        if any("weights only" in str(one).lower() for one in _causes(error)):
            raise UnsafeFileError(
                f"{source}: expected weights that are tensors alone, received a pickle that names "
                "something else, which was not run; ask its author for safetensors"
            ) from error
        raise BundleNotFoundError(
            f"{source}: its weights cannot be loaded; {in_one_line(error)}"
        ) from error
    for name, there, wanted in sorted(found["mismatched_keys"])[:1]:
        raise WeightsFormatError(
            f"{source}: its config.json says {list(wanted)} of tensor {name!r}, received "
            f"{list(there)}; are they of one model?"
        )
    if missing := sorted(set(found["missing_keys"]) - set(may_miss)):
        raise WeightsFormatError(
            f"{source}: {len(missing)} tensors are missing, such as {missing[0]!r}; is it whole?"
        )
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{source}: tensor {name!r} holds NaN or infinity")
    return model


def in_one_line(error: Exception) -> str:
    """Return the beginning of what an error of a library says."""
    return " ".join(str(error).split())[:200]


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
