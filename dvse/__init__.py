"""DVSE: text, pictures and speech as one list of integers, and back.

>>> import dvse
>>> tokenizer = dvse.load("tiny")
>>> batch = tokenizer([dvse.Text("hello"), dvse.Text("one two three")])
>>> batch.input_ids.shape == batch.attention_mask.shape == batch.modality_ids.shape
True
>>> tokenizer.decode(batch.input_ids[0])
[TextSegment(text='hello', modality='text')]

Importing this package is fast and loads no torch; names are fetched when they are first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dvse import auto_classes
from dvse.version import __version__

if TYPE_CHECKING:
    from dvse import errors
    from dvse.batch import TokenBatch
    from dvse.dataset.mixture import Mixture, MixturePart
    from dvse.dataset.token_dataset import TokenDataset
    from dvse.encoding import Encoding
    from dvse.grammar import Grammar
    from dvse.items import Audio, Image, Text
    from dvse.numerics import NumericsProfile
    from dvse.processor import DvseProcessor
    from dvse.tokenizer import Tokenizer, load
    from dvse.vocabulary import Vocabulary

_HOMES = {
    "Audio": "dvse.items",
    "DvseProcessor": "dvse.processor",
    "Encoding": "dvse.encoding",
    "Grammar": "dvse.grammar",
    "Image": "dvse.items",
    "Mixture": "dvse.dataset.mixture",
    "MixturePart": "dvse.dataset.mixture",
    "NumericsProfile": "dvse.numerics",
    "Text": "dvse.items",
    "TokenBatch": "dvse.batch",
    "TokenDataset": "dvse.dataset.token_dataset",
    "Tokenizer": "dvse.tokenizer",
    "Vocabulary": "dvse.vocabulary",
    "load": "dvse.tokenizer",
}

__all__ = [
    "Audio",
    "DvseProcessor",
    "Encoding",
    "Grammar",
    "Image",
    "Mixture",
    "MixturePart",
    "NumericsProfile",
    "Text",
    "TokenBatch",
    "TokenDataset",
    "Tokenizer",
    "Vocabulary",
    "__version__",
    "errors",
    "load",
]

auto_classes.register()


class _Package(ModuleType):
    """A module that is pickled by name: dill takes it apart where it is installed editable.

    A function that says `dvse.Text(…)` could not be hashed by `datasets` then, and its cache never
    be used again.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("dvse.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'dvse' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
