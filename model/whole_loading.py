"""A decoder with all of its weights from its files, or a reason: `load_whole`.

transformers fills what files do not hold with random numbers and goes on, for whoever fine-tunes.
Whoever answers, rounds, exports or trains on means the weights that are there.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError

if TYPE_CHECKING:
    from .modeling_dvse import DvseForCausalLM

_LAYER = re.compile(r"(?:model\.)?layers\.(\d+)\.")


def load_whole(directory: str | Path, **kwargs: Any) -> "DvseForCausalLM":
    """Load as `DvseForCausalLM.from_pretrained` does; only gates may be new.

    Raises:
        CheckpointError: weights that are missing, or of layers that its `config.json` does not
            have; and all that `from_pretrained` refuses.
        ModelConfigError: as `from_pretrained`.
    """
    from .modeling_dvse import DvseForCausalLM

    read: Any = DvseForCausalLM.from_pretrained(directory, output_loading_info=True, **kwargs)
    model, report = read
    missing = sorted(name for name in report["missing_keys"] if ".token_gate." not in name)
    if missing:
        raise CheckpointError(
            f"{directory}: {len(missing)} weights are missing, such as {missing[0]}: copy or "
            "download the checkpoint again, with the config.json that it was saved with."
        )
    depth = model.config.num_hidden_layers
    for name in sorted(report["unexpected_keys"]):
        layer = _LAYER.match(name)
        if layer is not None and int(layer[1]) >= depth:
            raise CheckpointError(
                f"{directory}: its config.json says {depth} layers and its files hold {name}: load "
                "it with the config.json that it was saved with."
            )
    return model
