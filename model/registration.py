"""Making the model known to transformers' Auto classes and to PEFT without importing them.

`AutoConfig`, `AutoModel`, `AutoModelForCausalLM` and its kin keep tables of names and import
a model's classes when somebody asks for them; the public `register` wants the classes themselves,
and so torch and seconds. Here the names are written into those tables, with this package as the
place to import from: at once where transformers' tables are loaded, otherwise as soon as they are.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_MODEL_TYPE, _CONFIG_CLASS = "dvse", "DvseConfig"


def register_when_transformers_is_there() -> None:
    """Write our names into transformers' tables, now or when they are loaded. Idempotent."""
    for name, write in _TABLES.items():
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            write(module)
    if not any(isinstance(finder, _TableFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableFinder())


def _write_config(tables: ModuleType) -> None:
    tables.CONFIG_MAPPING._mapping[_MODEL_TYPE] = _CONFIG_CLASS
    tables.CONFIG_MAPPING._modules[_MODEL_TYPE] = sys.modules[__package__]


def _write_models(tables: ModuleType) -> None:
    for table, model_class in (
        (tables.MODEL_MAPPING, "DvseModel"),
        (tables.MODEL_FOR_CAUSAL_LM_MAPPING, "DvseForCausalLM"),
        (tables.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, "DvseForCausalLM"),
        (tables.MODEL_FOR_MULTIMODAL_LM_MAPPING, "DvseForCausalLM"),
    ):
        table._model_mapping[_MODEL_TYPE] = model_class
        table._reverse_config_mapping[_CONFIG_CLASS] = _MODEL_TYPE
        table._modules[_MODEL_TYPE] = sys.modules[__package__]


def _write_adapters(tables: ModuleType) -> None:
    """Where PEFT puts LoRA if nobody says where: the queries and values, as in GLM's like."""
    tables.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[_MODEL_TYPE] = ["q_proj", "v_proj"]


_TABLES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _write_config,
    "transformers.models.auto.modeling_auto": _write_models,
    "peft.utils.constants": _write_adapters,
}


class _TableFinder(MetaPathFinder):
    """Finds the modules with the tables as usual, with a loader that writes into them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _TABLES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WritingLoader(spec.loader, _TABLES[fullname])
        return spec


class _WritingLoader(Loader):
    def __init__(self, loader: Loader, write: Callable[[ModuleType], None]) -> None:
        self._loader, self._write = loader, write

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._write(module)
