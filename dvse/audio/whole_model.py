"""A model of transformers with all of its weights in it, or a reason.

transformers fills what a file does not hold with random numbers and goes on. A code would then be
another one each time that the file is loaded, so here every tensor has to be there, and finite.
"""

import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from dvse.errors import BundleNotFoundError, UnsafeFileError, WeightsFormatError
from dvse.quiet_transformers import without_library_lines
from dvse.storage.weight_files import check_weight_files


def whole_model(
    model_class: Any,
    source: str,
    *,
    may_miss: Collection[str] = (),
    has_no_more_of: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """Return the model in fp32.

    Args:
        model_class: of transformers.
        source: a directory or a Hub name.
        may_miss: tensors that need not be there.
        has_no_more_of: places of the model, such as `encoder.`, where each tensor has to have its
            own; of heads beside them it may hold what it likes.
        options: of `from_pretrained`.

    Raises:
        BundleNotFoundError: its weights are not there, damaged, or cannot be fetched.
        UnsafeFileError: they are a pickle of other things than tensors.
        WeightsFormatError: not whole, of another shape, or not finite.
    """
    if Path(source).is_dir():
        check_weight_files(Path(source))
    try:
        with without_library_lines(), warnings.catch_warnings(action="ignore"):
            strict = _reporting_all(model_class) if has_no_more_of else model_class
            model, found = strict.from_pretrained(
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
    model.__class__ = model_class
    _check_report(source, model, found, may_miss, has_no_more_of)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{source}: tensor {name!r} holds NaN or infinity")
    return model


def _check_report(
    source: str,
    model: Any,
    found: Mapping[str, Any],
    may_miss: Collection[str],
    has_no_more_of: tuple[str, ...],
) -> None:
    """Refuse what transformers reports of a file's tensors and goes on with."""
    for name, there, wanted in sorted(found["mismatched_keys"])[:1]:
        raise WeightsFormatError(
            f"{source}: its config.json says {list(wanted)} of tensor {name!r}, received "
            f"{list(there)}; are they of one model?"
        )
    if missing := sorted(set(found["missing_keys"]) - set(may_miss)):
        raise WeightsFormatError(
            f"{source}: {len(missing)} tensors are missing, such as {missing[0]!r}; is it whole?"
        )
    more = sorted(
        name
        for name in found["unexpected_keys"]
        if name.removeprefix(f"{model.base_model_prefix}.").startswith(has_no_more_of)
    )
    if has_no_more_of and more:
        raise WeightsFormatError(
            f"{source}: {len(more)} tensors have no place in what its config.json describes, such "
            f"as {more[0]!r}; are they of one model?"
        )


def _reporting_all(model_class: Any) -> Any:
    """Return the class of a model that says of every tensor that it has no place for it.

    Some (Mimi) pass over those of all their parts, and so over layers that a config.json leaves
    out.
    """

    def post_init(model: Any) -> None:
        model_class.post_init(model)
        model._keys_to_ignore_on_load_unexpected = set()

    about = {"post_init": post_init, "__module__": model_class.__module__}
    return type(model_class.__name__, (model_class,), about)


def in_one_line(error: Exception) -> str:
    """Return the beginning of what an error of a library says."""
    return " ".join(str(error).split())[:200]


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
