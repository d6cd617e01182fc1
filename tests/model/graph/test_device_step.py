"""The step for devices, run by torch: what the decoder says, whatever lies behind in the cache."""

import pytest
import torch

from model.graph.device_step import DeviceStep, select_rows, write_rows


@torch.no_grad()
@pytest.mark.parametrize("write", [write_rows, select_rows])
@pytest.mark.parametrize("fields", [{}, {"use_token_gate": True}])
def test_logits_are_the_decoders(make_model, fields, write):
    """Two conversations one after the other, a prompt in two parts, then single tokens."""
    model, twin = make_model(**fields), make_model(**fields)
    twin.load_state_dict(model.state_dict())
    step = DeviceStep(twin, context=24, longest=8, write=write)
    for start in (3, 30):
        ids, position = torch.arange(start, start + 8)[None], 0
        for part in (ids[:, :5], ids[:, 5:]):
            positions = torch.arange(position, position + part.shape[1])
            logits = step(part, positions)
            position += part.shape[1]
        for _ in range(4):
            assert torch.allclose(logits, model(ids).logits[:, -1], atol=1e-5)
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            logits = step(ids[:, -1:], torch.tensor([position]))
            position += 1
