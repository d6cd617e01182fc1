"""Ids to logits: the DVSE decoder, a Hugging Face `PreTrainedModel` in GLM's family.

    from model import DvseConfig, DvseForCausalLM, preset
    decoder = DvseForCausalLM(preset("tiny", vocab_size=12_672))

Names are imported when first used, so that `import model` costs nothing. The classes are known to
transformers' `AutoConfig`, `AutoModel` and `AutoModelForCausalLM` as soon as both packages are
imported, in either order.
"""

import importlib
from typing import Any

from .registration import register_when_transformers_is_there

_MODULE_OF = {
    "calibrate_gates": "calibration",
    "count_parameters": "sizes",
    "DvseConfig": "configuration_dvse",
    "DvseForCausalLM": "modeling_dvse",
    "DvseModel": "modeling_dvse",
    "extend_embedding": "embedding",
    "fitting_group_size": "quantization_config",
    "fit_gates": "gate_fitting",
    "forward_flops": "sizes",
    "FULL_PRECISION_MODULES": "token_gate",
    "GateCalibration": "calibration",
    "initialize_rows": "embedding",
    "kv_bytes_per_token": "sizes",
    "load_glm": "glm_loading",
    "load_whole": "whole_loading",
    "ModelError": "errors",
    "perplexity": "evaluation",
    "preset": "presets",
    "quantize": "quantization",
    "quantize_calibrated": "gptq",
    "PRESET_NAMES": "presets",
    "record_routing": "routing",
    "tokens_that_fit": "sizes",
    "weight_bytes": "sizes",
    "WeightOnlyConfig": "quantization_config",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__


register_when_transformers_is_there()
