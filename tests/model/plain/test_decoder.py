"""The plain decoder is the full one, bit for bit: prompts, steps, padding, every plain shape."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.errors import ContextLengthError, EmptySequenceError, TokenIdError
from model.plain.decoder import causal_mask

SHAPES = {
    "grouped": {},
    "one head of keys": {"num_key_value_heads": 1},
    "as many": {"num_key_value_heads": 4},
    "gates": {"use_token_gate": True, "gate_thresholds": [0.0, 0.3]},
    "tied": {"tie_word_embeddings": True},
    "bias": {"attention_bias": True},
    "half of a head": {"rope_parameters": {
        "rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}},
}  # fmt: skip


@pytest.fixture(params=SHAPES, ids=lambda name: name.replace(" ", "-"))
def pair(request, both):
    return both(**SHAPES[request.param])


@torch.inference_mode()
def test_a_prompt(pair, ids):
    full, plain = pair
    assert torch.equal(plain(ids).logits, full(ids).logits)
    assert torch.equal(plain.model(ids).last_hidden_state, full.model(ids).last_hidden_state)
    some = torch.tensor([2, 5])
    assert torch.equal(
        plain(ids, logits_to_keep=some).logits, full(ids, logits_to_keep=some).logits
    )


@torch.inference_mode()
@pytest.mark.parametrize("padded", [False, True])
def test_a_prompt_and_steps(pair, ids, padded):
    """Ids one by one behind a prompt, padded on the left or not, and several at once."""
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :3] = mask[2, :5] = 0
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    caches = [None, None]
    for start, stop in ((0, 6), (6, 7), (7, 8), (8, 11)):
        found = [
            model(
                ids[:, start:stop],
                attention_mask=mask[:, :stop] if padded else None,
                position_ids=positions[:, start:stop] if padded else None,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            for model, cache in zip(pair, caches, strict=True)
        ]
        assert torch.equal(found[0].logits, found[1].logits)
        caches = [one.past_key_values for one in found]
    assert caches[1].get_seq_length() == 11


@torch.inference_mode()
def test_half_precision(both, ids):
    full, plain = both(dtype=torch.bfloat16)
    assert plain.dtype is plain(ids).logits.dtype is torch.bfloat16
    assert torch.equal(plain(ids).logits, full(ids).logits)


def test_what_cannot_be_read(both):
    _, plain = both()
    with pytest.raises(TokenIdError, match="between 0 and 60"):
        plain(torch.tensor([[61]]))
    with pytest.raises(EmptySequenceError):
        plain(torch.zeros(1, 0, dtype=torch.int64))
    cache = plain(torch.ones(1, 128, dtype=torch.int64), use_cache=True).past_key_values
    with pytest.raises(ContextLengthError):
        plain(torch.tensor([[1]]), past_key_values=cache)


def test_mask():
    assert causal_mask(None, 3, 0) is None
    assert causal_mask(torch.ones(2, 4), 1, 3) is None
    assert causal_mask(None, 2, 1)[0, 0].tolist() == [[True, True, False], [True, True, True]]
    assert causal_mask(torch.tensor([[0, 1]]), 1, 1).tolist() == [[[[False, True]]]]


def test_another_attention(both, ids):
    """Each layer asks it, with its own number; what it gives is what the layer goes on with."""
    _, plain = both()
    asked = []

    def attend(module, query, key, value, mask, *, scaling, **more):
        asked.append((module.layer_idx, scaling, more["mine"]))
        return torch.zeros_like(query).transpose(1, 2), None

    plain.attend_with("any", attend)
    plain(ids, mine="x")
    assert asked == [(0, 8**-0.5, "x"), (1, 8**-0.5, "x")]


def test_nothing_of_transformers_is_loaded(both, tmp_path):
    both()
    script = (
        "import json, sys, torch\n"
        "from model.plain.loading import load_plain\n"
        "decoder = load_plain(sys.argv[1])\n"
        "decoder(torch.tensor([[1, 2]]), use_cache=True)\n"
        "names = ('transformers', 'torch._dynamo', 'torch.distributed.tensor', 'huggingface_hub')\n"
        "print(json.dumps([name for name in names if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "saved")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
