"""Sampling that depends on the seed alone, never on what else is in the batch.

The Gumbel-max trick (Gumbel 1954; Maddison et al. 2014): the argmax of `scores / temperature + g`
with independent standard Gumbel noise `g` is a sample of the softmax of `scores / temperature`.

*Deviations*: at each step all rows share one noise vector. A row's own distribution stays what it
is, and its sample becomes a function of its scores, the seed and the step; two rows with the same
prompt get the same answer, so several samples of one prompt need several seeds.
"""

import torch

_TINY = torch.finfo(torch.float32).tiny


class SeededSampling:
    """For greedy `generate(logits_processor=[...])`, as the last one.

    Args:
        temperature: above 0; the higher, the more varied.
        seed: any whole number.

    >>> once = SeededSampling(temperature=1.0, seed=3)(torch.zeros(2, 0), torch.zeros(2, 5))
    >>> again = SeededSampling(temperature=1.0, seed=3)(torch.zeros(1, 0), torch.zeros(1, 5))
    >>> torch.equal(once[:1], again), torch.equal(once[0], once[1])
    (True, True)
    """

    def __init__(self, *, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return `scores` `[B, vocab_size]` whose argmax is the sample."""
        noise = torch.empty(scores.shape[-1]).exponential_(generator=self._generator)
        gumbel = -noise.clamp_min_(_TINY).log_()
        return scores / self._temperature + gumbel.to(scores.device)
