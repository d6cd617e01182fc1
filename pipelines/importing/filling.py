"""Published tensors into modules: all of them, each of its shape, all finite."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from dvse.errors import WeightsFormatError

LARGEST_CODE = 1e15
"""The square of 1,000 times as much is still far from the end of float32."""


def need(where: str, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a tensor.

    Raises:
        WeightsFormatError: it is missing.
    """
    if name not in tensors:
        raise WeightsFormatError(f"{where}: tensor {name!r} is missing; is the file whole?")
    return tensors[name]


def need_codes(where: str, tensors: Mapping[str, Tensor], name: str, dim: int) -> Tensor:
    """Return a codebook `fp32 [num_codes, dim]`.

    Raises:
        WeightsFormatError: missing, of another shape, no floating-point numbers, not finite, or so
            large that no float32 holds a distance.
    """
    book = need(where, tensors, name)
    if book.ndim != 2 or book.shape[1] != dim or not len(book) or not book.is_floating_point():
        raise WeightsFormatError(
            f"{where}: expected codes of {dim} channels in {name!r}, floating point, received "
            f"{book.dtype} {list(book.shape)}"
        )
    book = book.float()
    if not book.abs().max() <= LARGEST_CODE:  # false of NaN, too
        raise WeightsFormatError(
            f"{where}: expected finite codes of up to {LARGEST_CODE:g} in {name!r}, received NaN, "
            "infinity or larger ones"
        )
    return book


def refuse_unknown(
    where: str, tensors: Mapping[str, Tensor], known: Collection[str], what: str
) -> None:
    """Refuse tensors that have no place.

    Raises:
        WeightsFormatError: names some of them.
    """
    if unknown := sorted(set(tensors) - set(known)):
        raise WeightsFormatError(
            f"{where}: expected the tensors of {what}, received {len(unknown)} that have no place "
            f"in one: {', '.join(unknown[:4])}"
        )


def filled(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill a module with exactly these tensors, in fp32.

    Raises:
        WeightsFormatError: one is missing, unknown, of another shape, or not finite.
    """
    own = module.state_dict()
    for name, value in tensors.items():
        if name in own and own[name].is_floating_point() and not value.is_floating_point():
            raise WeightsFormatError(
                f"{where}: expected floating-point numbers in tensor {name!r}, received "
                f"{value.dtype}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{where}: tensor {name!r} holds NaN or infinity")
    wanted = set(own)
    if missing := sorted(wanted - set(tensors)):
        raise WeightsFormatError(
            f"{where}: {len(missing)} tensors are missing, such as {missing[0]!r}; is the file "
            "whole?"
        )
    refuse_unknown(where, tensors, wanted, type(module).__name__)
    try:
        module.load_state_dict(
            {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
        )
    except RuntimeError as error:
        raise WeightsFormatError(
            f"{where}: tensors of another shape; {' '.join(str(error).split())[:200]}"
        ) from error
