"""Attention document by document against a mask over whole windows, and documents alone."""

import pytest
import torch

from model import DvseConfig, DvseForCausalLM
from pipelines.training.decoder.document_attention import attend_by_document

LENGTHS = ([5, 1, 9, 30], [40, 2, 3], [45])


def decoder(**more):
    torch.manual_seed(0)
    config = DvseConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **more,
    )
    return DvseForCausalLM(config).train()


def packed():
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in LENGTHS])
    ids = torch.randint(64, positions.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "position_ids": positions, "labels": ids, "use_cache": False}


def losses_and_gradients(model, batch):
    output = model(**batch)
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return output.logits.detach(), gradients


@pytest.mark.parametrize("heads", [{}, {"use_token_gate": True}], ids=["dense", "gated"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_logits_and_gradients_are_those_of_the_mask(heads, checkpointing):
    model, batch = decoder(**heads), packed()
    wanted, wanted_gradients = losses_and_gradients(model, batch)
    attend_by_document(model)
    if checkpointing:
        model.activation_checkpointing_enable()
    found, gradients = losses_and_gradients(model, batch)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-5, rtol=1e-3)


def test_a_document_is_as_if_it_stood_alone():
    model, batch = decoder(), packed()
    attend_by_document(model)
    logits = model(**batch).logits
    alone = model(input_ids=batch["input_ids"][:1, 6:15], use_cache=False).logits
    torch.testing.assert_close(logits[:1, 6:15], alone, atol=2e-5, rtol=1e-4)


def test_batches_one_after_another_are_told_apart():
    model = decoder()
    attend_by_document(model)
    first, second = packed(), packed()
    second["position_ids"] = torch.arange(45).expand(3, -1).contiguous()
    model(**first)
    found = model(**second).logits
    plain = decoder()(**second).logits
    torch.testing.assert_close(found, plain, atol=2e-5, rtol=1e-4)


def test_answers_are_sampled_on_the_way():
    model = decoder()
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    wanted = model.eval().generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    attend_by_document(model)
    found = model.eval().generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    assert found.tolist() == wanted.tolist()


def test_long_documents_are_left_to_the_kernel():
    model = decoder()
    ids = torch.randint(64, (1, 700), generator=torch.Generator().manual_seed(2))
    batch = {
        "input_ids": ids,
        "position_ids": torch.cat([torch.arange(650), torch.arange(50)])[None],
        "use_cache": False,
    }
    wanted = model(**batch).logits
    attend_by_document(model)
    torch.testing.assert_close(model(**batch).logits, wanted, atol=2e-5, rtol=1e-4)
