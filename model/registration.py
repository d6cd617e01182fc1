"""Making the model known to transformers' Auto classes without importing transformers.

Registration needs the model's classes and so torch and transformers, which take seconds to import.
It happens at once where transformers' Auto classes are loaded already; otherwise a finder waits
until somebody loads them.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_AUTO = "transformers.models.auto.modeling_auto"


def register_when_transformers_is_there() -> None:
    """Register now, or as soon as transformers' Auto classes are imported. Idempotent."""
    module = sys.modules.get(_AUTO)
    if module is not None and hasattr(module, "AutoModelForCausalLM"):
        _register(module)
    elif not any(isinstance(finder, _AutoFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoFinder())


def _register(auto: ModuleType) -> None:
    configuration = importlib.import_module("model.configuration_dvse")
    modeling = importlib.import_module("model.modeling_dvse")
    if not hasattr(configuration, "DvseConfig") or not hasattr(modeling, "DvseForCausalLM"):
        return  # they are being imported right now, and register themselves when done
    config = configuration.DvseConfig
    from transformers import AutoConfig

    AutoConfig.register("dvse", config, exist_ok=True)
    auto.AutoModel.register(config, modeling.DvseModel, exist_ok=True)
    auto.AutoModelForCausalLM.register(config, modeling.DvseForCausalLM, exist_ok=True)


class _AutoFinder(MetaPathFinder):
    """Finds transformers' Auto module as usual, with a loader that registers afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _AUTO:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        _register(module)
