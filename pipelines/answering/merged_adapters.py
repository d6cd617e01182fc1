"""A decoder without its adapters: PEFT's are merged into a copy, which opens anywhere."""

import copy
from typing import TYPE_CHECKING, Any

from dvse.errors import ConfigError

if TYPE_CHECKING:
    from model import DvseForCausalLM


def without_adapters(model: Any) -> "DvseForCausalLM":
    """Return the decoder itself; of one that has adapters, a copy with them merged.

    Args:
        model: a decoder, as it is, wrapped by `peft.get_peft_model`, or with `add_adapter`'s.

    Raises:
        ConfigError: adapters that cannot be merged, such as learnt prompts.
    """
    has_adapters = hasattr(model, "peft_config")
    if has_adapters and getattr(model, "is_quantized", False):
        raise ConfigError(
            "the adapters cannot be merged into quantized weights; save them alone, or put them on "
            "the decoder that was quantized"
        )
    if hasattr(model, "merge_and_unload"):
        try:
            return copy.deepcopy(model).merge_and_unload()  # type: ignore[no-any-return]
        except (AttributeError, NotImplementedError, ValueError) as error:
            raise ConfigError(f"the adapters cannot be merged into the decoder; {error}") from error
    if hasattr(model, "get_base_model"):  # PEFT, but of a kind that has nothing to merge
        raise ConfigError("the adapters cannot be merged into the decoder; expected LoRA's kind")
    if not getattr(model, "_hf_peft_config_loaded", False):
        return model  # type: ignore[no-any-return]
    return _merged_in_place(copy.deepcopy(model))


def _merged_in_place(model: Any) -> "DvseForCausalLM":
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper

    done = ""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            raise ConfigError(f"{name}: modules_to_save cannot be merged; wrap the model with PEFT")
        if done and name.startswith(done):
            continue  # inside a table whose new rows were merged
        parent, _, own = name.rpartition(".")
        if isinstance(module, TrainableTokensWrapper):
            whole = module.unload_and_optionally_merge_module(True, True, None)
            setattr(model.get_submodule(parent), own, whole)
            done = f"{name}."
        elif isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            setattr(model.get_submodule(parent), own, module.get_base_layer())
    model._hf_peft_config_loaded = False
    model._weight_conversions = []  # to PEFT's names, noted where adapters were loaded
    del model.peft_config
    return model  # type: ignore[no-any-return]
