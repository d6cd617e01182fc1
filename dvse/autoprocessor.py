"""Makes `AutoProcessor.from_pretrained(bundle)` work after `import dvse`, at no cost before.

transformers is slow to import and has no plug-in mechanism, so the class is registered when, and
only if, transformers' own registry module is loaded.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_REGISTRY = "transformers.models.auto.processing_auto"


def register() -> None:
    """Register `DvseProcessor` with transformers now, or as soon as transformers is loaded."""
    if _REGISTRY in sys.modules:
        _register_in(sys.modules[_REGISTRY])
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


class _Waiting(MetaPathFinder):
    """Waits for transformers' registry, then steps aside."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """Loads the registry as usual, then adds the class."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        """Whatever else a loader can do: give the source, open resources."""
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register_in(module)


def _register_in(registry: ModuleType) -> None:
    from dvse.processor import DvseProcessor

    registry.AutoProcessor.register(DvseProcessor, DvseProcessor, exist_ok=True)
