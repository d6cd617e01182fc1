"""Perplexity of a decoder on batches of ids, and the batches themselves."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from .errors import CalibrationError
from .modeling_dvse import DvseForCausalLM

# Ids [B, T], or a dictionary with input_ids and attention_mask, both [B, T].
Batch = torch.Tensor | dict[str, torch.Tensor]


@torch.no_grad()
def perplexity(model: DvseForCausalLM, data: Iterable[Batch]) -> float:
    """Return exp of the mean next-token loss over `data`, padding not counted."""
    loss, count = 0.0, 0
    with evaluating(model):
        for batch in map(as_inputs, data):
            logits = model(**on_device(batch, model), use_cache=False).logits[:, :-1].float()
            labels = batch["input_ids"][:, 1:].to(logits.device)
            keep = mask_of(batch)[:, 1:].to(logits.device).bool()
            loss += float(F.cross_entropy(logits[keep], labels[keep], reduction="sum"))
            count += int(keep.sum())
    if count == 0:
        raise CalibrationError("expected sequences of at least two tokens, got none.")
    return math.exp(loss / count)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def as_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """The model's arguments for a batch; a single sequence becomes a batch of one."""
    if isinstance(batch, torch.Tensor):
        return {"input_ids": batch if batch.dim() == 2 else batch.unsqueeze(0)}
    return {key: batch[key] for key in ("input_ids", "attention_mask") if key in batch}


def on_device(batch: dict[str, torch.Tensor], model: DvseForCausalLM) -> dict[str, torch.Tensor]:
    """The batch on the model's device."""
    return {key: value.to(model.device) for key, value in batch.items()}


def mask_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """1 for tokens and 0 for padding, `[B, T]`."""
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
