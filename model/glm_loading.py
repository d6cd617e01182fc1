"""Published GLM checkpoints as DVSE decoders: the same weights, the same logits.

GLM-4 and GLM-4-0414 (`glm`, `glm4`) are read as they are. GLM-4.5 (`glm4_moe`) rotates the halves
of a head where this decoder rotates neighbours, and keeps the two products of a dense FFN apart: it
is read by transformers' own class, whose weights are put in this decoder's order. A score is a sum
over the dimensions of a head, so an order that queries and keys share changes none.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .errors import CheckpointError
from .families import check_decoder_directory
from .quantization_config import check_kernels

if TYPE_CHECKING:
    from .configuration_dvse import DvseConfig
    from .modeling_dvse import DvseForCausalLM


def load_glm(
    directory: str | Path,
    *,
    num_new_ids: int = 0,
    init: "torch.Tensor | str" = "mean",
    **kwargs: Any,
) -> "DvseForCausalLM":
    """Load a GLM checkpoint and grow its vocabulary; old ids keep their logits.

    Args:
        directory: `config.json` and safetensors as transformers writes them for `GlmForCausalLM`,
            `Glm4ForCausalLM` and `Glm4MoeForCausalLM`.
        num_new_ids: rows to add behind the checkpoint's vocabulary, for image and audio codes.
        init: start of the new rows, see `extend_embedding`.
        kwargs: for `from_pretrained`: `dtype`, `device_map`, and fields of the configuration such
            as `use_token_gate=True`.

    Raises:
        CheckpointError: not a GLM checkpoint, adapters alone, a shard or tensor missing or of the
            wrong shape.
        ModelConfigError: a checkpoint of another family, or quantized by what cannot run here.
    """
    from .embedding import extend_embedding
    from .whole_loading import load_whole

    config = check_decoder_directory(directory)
    if config.get("model_type") == "glm4_moe":
        model = _of_glm4_moe(directory, **kwargs)
    else:
        model = load_whole(directory, **kwargs)
    if num_new_ids:
        extend_embedding(model, num_new_ids, init=init)
    return model


def _of_glm4_moe(directory: str | Path, dtype: Any = "auto", **fields: Any) -> "DvseForCausalLM":
    from transformers import Glm4MoeForCausalLM

    from .checkpoint import check_shards
    from .configuration_dvse import DvseConfig
    from .modeling_dvse import DvseForCausalLM

    config = DvseConfig.from_pretrained(directory, **fields)
    check_shards(Path(directory))
    check_kernels(config, directory)
    try:
        read: Any = Glm4MoeForCausalLM.from_pretrained(
            directory, dtype=dtype, output_loading_info=True
        )
        theirs, report = read
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{directory}: the checkpoint cannot be read; {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{directory}: {missing[0]} is missing ({len(missing)} in all).")
    model = DvseForCausalLM._from_config(config, dtype=theirs.dtype)
    weights = _in_our_order(theirs.state_dict(), config)
    del theirs
    _, unknown = model.load_state_dict(weights, strict=False, assign=True)
    if unknown:
        raise CheckpointError(f"{directory}: {unknown[0]} is no weight of this decoder.")
    model.tie_weights()
    model.name_or_path = str(directory)
    return model.eval()


def _in_our_order(theirs: dict[str, torch.Tensor], config: "DvseConfig") -> dict[str, torch.Tensor]:
    """Weights of `Glm4MoeForCausalLM` by our names, neighbours of a head side by side."""
    rope: Any = config.rope_parameters
    rotary = int(config.head_dim * rope.get("partial_rotary_factor", 1.0))
    halves = torch.arange(rotary).view(2, -1).T.reshape(-1)
    order = torch.cat([halves, torch.arange(rotary, config.head_dim)])
    ours = {}
    for name, weight in theirs.items():
        if ".self_attn.q_" in name or ".self_attn.k_" in name:
            heads = weight.unflatten(0, (-1, config.head_dim))
            ours[name] = heads[:, order].flatten(0, 1)
        elif name.endswith(".mlp.up_proj.weight"):
            continue  # beside its gate_proj
        elif name.endswith(".mlp.gate_proj.weight"):
            pair = (weight, theirs[name.replace("gate_proj", "up_proj")])
            ours[name.replace("gate_proj", "gate_up_proj")] = torch.cat(pair)
        else:
            ours[name] = weight
    return ours
