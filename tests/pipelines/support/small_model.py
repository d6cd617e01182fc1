"""A small random decoder on the shipped bundle, saved as a model directory in half a second."""

from pathlib import Path
from typing import Any

import torch

from pipelines.answering.model_directory import save_model


def make_decoder(**fields: Any) -> Any:
    """A decoder for the shipped vocabulary; the same weights each time."""
    from model import DvseForCausalLM, preset

    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    return DvseForCausalLM(preset("tiny", **{**shape, **fields})).eval()


def save_small_model(directory: Path, **fields: Any) -> Path:
    """Save it beside a copy of the shipped bundle."""
    return save_model(make_decoder(**fields), "tiny", directory)
