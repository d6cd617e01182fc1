"""What both models share: how weights begin, how checkpoints are read, what can be recorded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AttentionInterface
from transformers import initialization as init
from transformers.models.glm.modeling_glm import GlmPreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from .attention import GroupedQueryAttention
from .checkpoint import check_shards, explain_failure
from .configuration_dvse import DvseConfig
from .decoder_layer import DvseDecoderLayer
from .experts import Experts, RoutedLayer, Router
from .families import base_of_lone_adapters, check_decoder_directory
from .quantization_config import check_kernels
from .share_reading import stored_tensors
from .token_gate import TokenGate


class _WhereThereAreExperts:
    """Whether the experts' kernel can be chosen: asked of a model, it depends on its configuration.

    transformers asks the class and looks for a decorator in its source; here one class serves dense
    models and models with experts, so the class answers no and a model with experts answers yes.
    """

    def __get__(self, model: Any, owner: type) -> Any:
        config = None if model is None else model.__dict__.get("config")
        return lambda: config is not None and config.has_experts


class DvsePreTrainedModel(GlmPreTrainedModel):
    """Configuration, initialisation, recorded outputs and loading of both models."""

    config: DvseConfig
    config_class = DvseConfig
    base_model_prefix = "model"
    _no_split_modules = ["DvseDecoderLayer"]  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": DvseDecoderLayer,
        "attentions": GroupedQueryAttention,
        "router_logits": OutputRecorder(Router, index=0),
        "routed_layers": OutputRecorder(RoutedLayer, index=0),
        "gate_logits": OutputRecorder(TokenGate, index=0),
    }
    _can_set_experts_implementation = _WhereThereAreExperts()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Load a checkpoint of this model or of GLM-4, as `PreTrainedModel.from_pretrained` does.

        Raises:
            MissingShardError: a weight file named in the index is not there.
            TensorShapeError: a tensor does not have the configuration's shape.
            CheckpointError: a weight file is cut off, or adapters whose decoder is not there.
            ModelConfigError: `config.json` has an unknown key, is another architecture's, or names
                a quantization that cannot run here.
        """
        name_or_path = pretrained_model_name_or_path
        directory = None if name_or_path is None else Path(name_or_path)
        if directory is None or not directory.is_dir():
            return super().from_pretrained(name_or_path, *args, **kwargs)
        directory /= kwargs.get("subfolder", "")
        _check_before_weights(directory)
        try:
            return super().from_pretrained(name_or_path, *args, **kwargs)
        except (RuntimeError, OSError, SafetensorError):
            config = kwargs.get("config") or DvseConfig.from_pretrained(name_or_path, **kwargs)
            explain_failure(directory, cls, config)
            raise

    @staticmethod
    def _load_pretrained_model(  # type: ignore[override]
        model: Any,
        state_dict: Any,
        checkpoint_files: Any,
        load_config: Any,
        expected_keys: Any = None,
    ) -> Any:
        """Fill a model; one that is split over processes reads its share alone, in large pieces."""
        load = GlmPreTrainedModel._load_pretrained_model
        is_split = load_config.device_mesh is not None and state_dict is None
        if not is_split or not str(checkpoint_files[0]).endswith(".safetensors"):
            return load(model, state_dict, checkpoint_files, load_config, expected_keys)
        with stored_tensors(checkpoint_files) as stored:
            return load(model, stored, checkpoint_files, load_config, expected_keys)

    def attend_with(self, name: str, function: Callable[..., Any]) -> None:
        """Let all layers attend by a function of transformers' interface, known by this name."""
        AttentionInterface.register(name, function)
        self.set_attn_implementation(name)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, TokenGate):
            init.zeros_(module.weight)
            init.constant_(module.bias, self.config.gate_bias_init)
        elif isinstance(module, Router):
            init.normal_(module.weight, mean=0.0, std=std)
            init.zeros_(module.e_score_correction_bias)
        elif isinstance(module, Experts):
            init.normal_(module.gate_up_proj, mean=0.0, std=std)
            init.normal_(module.down_proj, mean=0.0, std=std)
        else:
            super()._init_weights(module)


def _check_before_weights(directory: Path) -> None:
    """Refuse what no weight has to be read for."""
    base = base_of_lone_adapters(directory)
    if base and Path(base).is_dir():
        return  # transformers goes there, and puts the adapters on it
    if base and not Path(base).is_absolute() and base.count("/") == 1:
        return  # a Hub id
    is_asked = base is not None or (directory / "config.json").is_file()
    if is_asked and "quantization_config" in check_decoder_directory(directory):
        check_kernels(DvseConfig.from_pretrained(directory), directory)
    check_shards(directory)
