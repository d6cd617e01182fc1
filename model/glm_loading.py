"""Published GLM-4 checkpoints as DVSE decoders: the same weights, the same logits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .errors import CheckpointError

if TYPE_CHECKING:
    from .modeling_dvse import DvseForCausalLM


def load_glm(
    directory: str | Path,
    *,
    num_new_ids: int = 0,
    init: "torch.Tensor | str" = "mean",
    **kwargs: Any,
) -> "DvseForCausalLM":
    """Load a GLM-4 checkpoint and grow its vocabulary; old ids keep their logits.

    Args:
        directory: `config.json` and safetensors as transformers writes them for `GlmForCausalLM`.
        num_new_ids: rows to add behind the checkpoint's vocabulary, for image and audio codes.
        init: start of the new rows, see `extend_embedding`.
        kwargs: for `from_pretrained`: `dtype`, `device_map`, and fields of the configuration such
            as `use_token_gate=True`.

    Raises:
        CheckpointError: not a GLM-4 checkpoint, a shard or tensor missing or of the wrong shape.
    """
    from .embedding import extend_embedding
    from .modeling_dvse import DvseForCausalLM

    if not (Path(directory) / "config.json").is_file():
        raise CheckpointError(
            f"expected a GLM-4 checkpoint with a config.json, found none in {directory}: give the "
            "directory that transformers' save_pretrained wrote."
        )
    model = DvseForCausalLM.from_pretrained(directory, **kwargs)
    if num_new_ids:
        extend_embedding(model, num_new_ids, init=init)
    return model
