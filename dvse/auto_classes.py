"""Makes transformers' Auto classes know DVSE after `import dvse`, at no cost before.

transformers is slow to import and has no plug-in mechanism, so the classes are registered when,
and only if, transformers' own registry modules are loaded. The decoder is another package, which
this one never imports: the modules that `pyproject.toml` lists as entry points `dvse.transformers`
are loaded just before transformers' package of tables, so that they can write into any of them.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from dvse.plugins import plugins

if TYPE_CHECKING:  # `importlib.abc` imports much, and its classes are not needed as bases
    from importlib.abc import Loader

_PACKAGE = "transformers.models.auto"


def register() -> None:
    """Register what DVSE has with transformers now, or as soon as transformers is loaded."""
    if _PACKAGE in sys.modules:
        _load_models()
    for name, add in _TABLES.items():
        if name in sys.modules:
            add(sys.modules[name])
    if not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


def _load_models() -> None:
    for _ in plugins("dvse.transformers"):
        pass  # loading is all


def _add_processor(registry: ModuleType) -> None:
    from dvse.processor import DvseProcessor

    registry.AutoProcessor.register(DvseProcessor, DvseProcessor, exist_ok=True)


def _add_tokenizer(registry: ModuleType) -> None:
    from dvse.pretrained_tokenizer import DvseTokenizer

    # `AutoTokenizer.register` wants a configuration class beside it, and so the decoder.
    registry.REGISTERED_TOKENIZER_CLASSES[DvseTokenizer.__name__] = DvseTokenizer


_TABLES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.processing_auto": _add_processor,
    "transformers.models.auto.tokenization_auto": _add_tokenizer,
}


class _Waiting:
    """Waits for transformers' registry modules, each once."""

    def __init__(self) -> None:
        self._names = {_PACKAGE, *_TABLES} - sys.modules.keys()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        self._names.remove(fullname)
        if fullname == _PACKAGE:
            _load_models()
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None and fullname in _TABLES:
            spec.loader = cast("Loader", _Registering(spec.loader, _TABLES[fullname]))
        return spec


class _Registering:
    """Loads a registry as usual, then adds to it."""

    def __init__(self, loader: "Loader", add: Callable[[ModuleType], None]) -> None:
        self._loader, self._add = loader, add

    def __getattr__(self, name: str) -> Any:
        """Whatever else a loader can do: give the source, open resources."""
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._add(module)
