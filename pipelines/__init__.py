"""Jobs on top of `dvse` and `model`: tokenise, train, caption, evaluate, and the `dvse` command.

Nothing imports this package. *What* a job does stands apart from *where* it runs.

    from pipelines import Captioner
    Captioner.load("tiny")(["cat.jpg", "seven.wav"])

Importing it is fast and loads no torch; names are fetched when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.answering.caption import Caption
    from pipelines.answering.captioner import Captioner

_HOMES = {"Caption": "pipelines.answering.caption", "Captioner": "pipelines.answering.captioner"}

__all__ = ["Caption", "Captioner"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
