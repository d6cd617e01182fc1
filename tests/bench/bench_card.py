"""GLM-4-9B's shape with random weights on one graphics card: fp16, int8, int4, beside transformers.

    python tests/bench --only card

Without a card there are no rows. `DVSE_BENCH_SHAPE=tiny` takes a small shape, also on a processor,
to try the benchmark itself. `ratio` is a speed-up over transformers' GLM in fp16 with the same
weights, and for memory what was allocated over what `dvse model-card` counts.
"""

import gc
import os
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from bench_model import _generate
from timing import Row
from transformers import GlmConfig, GlmForCausalLM

from model import (
    DvseConfig,
    DvseForCausalLM,
    fitting_group_size,
    preset,
    quantize,
    weight_bytes,
)

_BATCHES = (1, 8, 32)
_PROMPT = 512
_PAIRS = 5
_GLM_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "attention_bias"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps"),
    *("max_position_embeddings", "rope_parameters", "pad_token_id", "tie_word_embeddings"),
)


def rows() -> Iterator[Row]:
    """Memory, prefill and decoding of each kind of weights."""
    shape = os.environ.get("DVSE_BENCH_SHAPE")
    if shape is None and not torch.cuda.is_available():
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = preset(shape or "9b")
    for bits in (16, 8, 4):
        yield from _kind(config, bits, torch.device(device), f"{shape or '9b'}, {device}")


def _kind(config: DvseConfig, bits: int, device: torch.device, words: str) -> Iterator[Row]:
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    before = _allocated(device)
    ours = _ours(config, dtype, device)
    if bits < 16:
        ours = quantize(ours, bits=bits, group_size=fitting_group_size(config))
        _collect(device)
    if device.type == "cuda":
        held, counted = _allocated(device) - before, weight_bytes(config, _name(bits))
        yield Row(
            name=f"card.{_name(bits)}.weights",
            ours=held / 2**30,
            peer=counted / 2**30,
            ratio=held / counted,
            bar="0.95 to 1.05",
            unit="GiB",
            note=f"allocated, against model-card's count; {words}",
        )
    peer = _peer(config, ours if bits == 16 else _ours(config, dtype, device), dtype, device)
    for batch in _BATCHES:
        ids = torch.randint(2, min(config.vocab_size, 8192), (batch, _PROMPT), device=device)
        seconds = [(_generate(ours, ids), _generate(peer, ids)) for _ in range(_PAIRS + 1)][1:]
        for index, phase in enumerate(("prefill", "decode")):
            yield Row(
                name=f"card.{_name(bits)}.{phase}_{batch}",
                ours=median(pair[0][index] for pair in seconds) * 1e3,
                peer=median(pair[1][index] for pair in seconds) * 1e3,
                ratio=median(pair[1][index] / pair[0][index] for pair in seconds),
                bar=">= 1.0" if bits == 16 else None,
                unit="ms" if phase == "prefill" else "ms/step",
                note=f"GlmForCausalLM in fp16, batch {batch}, prompt {_PROMPT}; {words}",
            )
    del ours, peer
    _collect(device)


def _ours(config: DvseConfig, dtype: torch.dtype, device: torch.device) -> DvseForCausalLM:
    torch.manual_seed(0)
    with device:
        return DvseForCausalLM._from_config(config, dtype=dtype).eval()


def _peer(
    config: DvseConfig, ours: Any, dtype: torch.dtype, device: torch.device
) -> GlmForCausalLM:
    """Transformers' own GLM on the same weights, which it shares where they are not rounded."""
    fields = {key: getattr(config, key) for key in _GLM_KEYS}
    with torch.device("meta"):
        peer = GlmForCausalLM._from_config(GlmConfig(**fields), dtype=dtype)
    peer.load_state_dict(ours.state_dict(), assign=True)
    if config.tie_word_embeddings:
        peer.tie_weights()
    with device:  # angles are no weights: those of the meta device hold nothing
        peer.model.rotary_emb = type(peer.model.rotary_emb)(peer.config)
    return peer.eval()


def _name(bits: int) -> str:
    return {16: "fp16", 8: "int8", 4: "int4"}[bits]


def _allocated(device: torch.device) -> int:
    _collect(device)
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _collect(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
