"""Whether an optimiser that a recipe names is there, told before anything is loaded."""

import difflib
import importlib.util

from dvse.errors import ConfigError, MissingExtraError

# What transformers' Trainer takes from which library, by how its names look.
_LIBRARIES = {"bnb": "bitsandbytes", "paged": "bitsandbytes", "torch_8bit": "torchao"}
_LIBRARIES |= {"torch_4bit": "torchao"}
_OTHER_NAMES = dict.fromkeys(
    ("adamw_8bit", "ademamix", "ademamix_8bit", "lion_8bit", "lion_32bit", "rmsprop_8bit"),
    "bitsandbytes",
)
_EXTRA = "optimizers"


def check_optimizer(name: str) -> None:
    """Refuse an optimiser that transformers does not know, or whose library is missing.

    Raises:
        ConfigError: the message has the nearest name.
        MissingExtraError: it names the extra.
    """
    from transformers.training_args import OptimizerNames

    known = [str(one.value) for one in OptimizerNames]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ", such as adamw_torch_fused"
        raise ConfigError(
            f"optimizer: expected a name that transformers has{hint}, received {name!r}"
        )
    library = library_of(name)
    if library is not None and importlib.util.find_spec(library) is None:
        raise MissingExtraError.for_extra(library, _EXTRA)


def library_of(name: str) -> str | None:
    """Return the library that an optimiser of the Trainer is from; `None` for torch and others.

    Example:
        >>> library_of("adamw_bnb_8bit"), library_of("adamw_torch_8bit"), library_of("sgd")
        ('bitsandbytes', 'torchao', None)
    """
    parts = (library for part, library in _LIBRARIES.items() if part in name)
    return _OTHER_NAMES.get(name) or next(parts, None)
