"""Batches through a device, two under way: while one is computed, the next is filled and copied.

On CUDA batches go there from pinned memory on a stream of their own, while the batch before is
computed, and results come back into it, each behind an event, so that the processor waits for
results alone. On a processor everything is done in order. What is computed, and in which shape, is
not changed by any of it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")


def in_flight(
    batches: Iterable[tuple[Key, Tensor]],
    compute: Callable[[Tensor], tuple[Tensor, ...]],
    device: torch.device,
) -> Iterator[tuple[Key, tuple[Tensor, ...]]]:
    """Yield for each batch, in order, its key and what `compute` makes of it, on the processor.

    Args:
        batches: on the processor, read one ahead.
        compute: is given a batch on the device.
        device: where it computes.

    >>> double = lambda batch: (2 * batch,)
    >>> given = [("a", torch.ones(1)), ("b", torch.zeros(1))]
    >>> found = in_flight(given, double, torch.device("cpu"))
    >>> [(key, values.tolist()) for key, (values,) in found]
    [('a', [2.0]), ('b', [0.0])]
    """
    if device.type != "cuda":
        for key, batch in batches:
            yield key, compute(batch)
        return
    waiting: tuple[Key, tuple[Tensor, ...], torch.cuda.Event] | None = None
    copies = torch.cuda.Stream(device)
    for key, batch in batches:
        found = compute(_sent(batch, device, copies))
        back = tuple(_on_its_way(one) for one in found)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = key, back, event
    if waiting is not None:
        yield _arrived(*waiting)


def _sent(batch: Tensor, device: torch.device, copies: torch.cuda.Stream) -> Tensor:
    """The batch on the device: whatever computes there next waits for its copy, and no more."""
    with torch.cuda.stream(copies):
        there = batch.pin_memory().to(device, non_blocking=True)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(copies)
    # Its memory is of the other stream, which must not use it again before it was read here.
    there.record_stream(computing)
    return there


def _on_its_way(values: Tensor) -> Tensor:
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)


def _arrived(
    key: Key, values: tuple[Tensor, ...], event: torch.cuda.Event
) -> tuple[Key, tuple[Tensor, ...]]:
    event.synchronize()
    return key, values
