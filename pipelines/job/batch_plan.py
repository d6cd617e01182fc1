"""How many tokens a forward pass should hold, measured on the device at hand.

Budgets are tried in powers of two, from one picture or window up to where two doublings in a row
bring nothing, or memory is full. Each is a profile of its own, so three things are said of it: how
fast it is, which share of a sample's codes stays as without one, and whether a chunk's features are
the same whatever its place and its neighbours; where they are not, it is not to be used. A job
takes the number from its user and does not measure: the same command gives the same tokens.
"""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dvse.audio.recording_tokenizer import RecordingTokenizer
from dvse.chunk import Chunk
from dvse.image.picture_tokenizer import PictureTokenizer
from dvse.onnx_tokenizer import OnnxTokenizer

_MOST_TOKENS = 1 << 20
_NEARLY = 0.97
"""From this share of the best throughput on a smaller batch is the better one."""
_FRUITLESS = 2
_PASSES, _MEASURED_S = 3, 0.3


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A budget and what came of it.

    Attributes:
        batch_tokens: the budget, `None` for what the tokenizer takes where nobody chooses.
        rows: chunks in a forward pass.
        tokens_per_s: of full batches; 0 where memory did not suffice.
        kept: share of the sample's codes that are those of `batch_tokens=None`.
        is_steady: whether features depend on nothing but their own chunk.
    """

    batch_tokens: int | None
    rows: int
    tokens_per_s: float = 0.0
    kept: float = 1.0
    is_steady: bool = True

    @property
    def is_usable(self) -> bool:
        """Whether a job may take it."""
        return self.is_steady and self.tokens_per_s > 0


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What was tried with the commonest shape of a modality.

    Attributes:
        what: the chunks, for people.
        default: what nobody has to choose.
        tried: budgets, rising.
    """

    what: str
    default: Tried
    tried: Sequence[Tried]

    @property
    def best(self) -> float:
        """Tokens a second of the fastest that may be used."""
        usable = (one.tokens_per_s for one in (self.default, *self.tried) if one.is_usable)
        return max(usable, default=0.0)

    @property
    def unusable(self) -> list[int]:
        """Budgets that no job may take; those beyond one for which memory did not suffice too."""
        bad = [t.batch_tokens for t in self.tried if t.batch_tokens and not t.is_usable]
        out_of_memory = bool(self.tried) and not self.tried[-1].tokens_per_s
        return [*bad, *_beyond(bad[-1])] if out_of_memory else bad

    @property
    def budgets(self) -> dict[int, float]:
        """Tokens a second of each budget that may be used."""
        return {
            t.batch_tokens: t.tokens_per_s for t in self.tried if t.batch_tokens and t.is_usable
        }

    def table(self) -> str:
        """Return it as lines for people."""
        lines = [self.what, f"{'tokens':>12}{'rows':>8}{'tokens/s':>14}{'codes that stay':>18}"]
        for one in (self.default, *self.tried):
            name = "default" if one.batch_tokens is None else f"{one.batch_tokens:,}"
            line = f"{name:>12}{one.rows:>8,}"
            if not one.tokens_per_s:
                lines.append(f"{line}  not enough memory")
                continue
            line += f"{one.tokens_per_s:>14,.0f}{100 * one.kept:>16.2f} %"
            lines.append(line + ("" if one.is_steady else "  no: neighbours change features"))
        return "\n".join(lines)


def best_budget(plans: Sequence[BatchPlan]) -> int | None:
    """Return the smallest budget within 3 % of the best for all; `None` where the default is.

    Args:
        plans: of one modality, or of several that one budget has to serve. A budget is as good as
            what the one that gains least of it has, as a share of its own best; beyond the last
            budget that was tried of one, nothing changes any more.

    >>> rates = {64: 40.0, 128: 98.0, 256: 100.0}
    >>> tried = [Tried(batch_tokens=n, rows=1, tokens_per_s=rate) for n, rate in rates.items()]
    >>> default = Tried(batch_tokens=None, rows=1, tokens_per_s=50.0)
    >>> best_budget([BatchPlan(what="", default=default, tried=tried)])
    128
    """
    plans = [plan for plan in plans if plan.budgets]
    if all(p.default.is_usable and p.default.tokens_per_s >= _NEARLY * p.best for p in plans):
        return None
    candidates = {b for p in plans for b in p.budgets} - {b for p in plans for b in p.unusable}
    scores = {
        budget: min(_rate(plan, budget) / plan.best for plan in plans)
        for budget in sorted(candidates)
    }
    enough = _NEARLY * max(scores.values(), default=0.0)
    return next((budget for budget, score in scores.items() if score >= enough), None)


def _rate(plan: BatchPlan, budget: int) -> float:
    """Of a budget between two that were tried, that of the smaller; below all, one at a time."""
    below = [tried for tried in plan.budgets if tried <= budget]
    return plan.budgets[max(below) if below else min(plan.budgets)]


def plan_batches(
    media: PictureTokenizer | RecordingTokenizer, chunks: Sequence[Chunk]
) -> BatchPlan | None:
    """Try budgets with the commonest shape of some chunks; `None` where none can share a batch.

    To be called under the profile, see `NumericsProfile.pinned`.

    Args:
        media: the tokenizer of pictures or of sound.
        chunks: of its modality.
    """
    roomy = media.with_batch_tokens(_MOST_TOKENS)
    shapes = Counter(c.shape for c in chunks if roomy.batch_rows(c.shape) > 1)
    if not shapes:
        return None
    ((shape, count),) = shapes.most_common(1)
    sample = [chunk for chunk in chunks if chunk.shape == shape]
    num_tokens = media.num_tokens(shape)
    plain = media.with_batch_tokens(None)
    codes = plain.encode(sample)
    tried: list[Tried] = []
    best, fruitless = 0.0, 0
    for budget in _budgets(num_tokens):
        one = _try(media.with_batch_tokens(budget), sample, codes)
        tried.append(one)
        if not one.tokens_per_s:
            break
        fruitless = 0 if one.tokens_per_s * _NEARLY > best else fruitless + 1
        best = max(best, one.tokens_per_s)
        if fruitless == _FRUITLESS:
            break
    size = "x".join(map(str, shape[:2] if len(shape) == 3 else shape[:1]))
    unit = "pixels" if isinstance(media, PictureTokenizer) else "samples"
    return BatchPlan(
        what=f"{sample[0].modality}: {size} {unit}, {num_tokens:,} tokens each, {count:,} tried",
        default=_try(plain, sample, codes),
        tried=tried,
    )


def _budgets(num_tokens: int) -> Iterator[int]:
    """The smallest power of two that holds one chunk, and those beyond."""
    return _beyond((1 << (num_tokens - 1).bit_length()) // 2)


def _beyond(budget: int) -> Iterator[int]:
    while (budget := max(1, 2 * budget)) <= _MOST_TOKENS:
        yield budget


def _try(
    media: PictureTokenizer | RecordingTokenizer,
    sample: Sequence[Chunk],
    codes: Sequence[np.ndarray],
) -> Tried:
    rows = media.batch_rows(sample[0].shape)
    batch = [sample[i % len(sample)] for i in range(rows)]
    try:
        found = media.encode(sample)
        is_steady = _is_steady(media, batch)
        seconds = _seconds(lambda: media.encode(batch))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _free()
        return Tried(batch_tokens=media.batch_tokens, rows=rows)
    stays = [one == two for one, two in zip(found, codes, strict=True)]
    return Tried(
        batch_tokens=media.batch_tokens,
        rows=rows,
        tokens_per_s=rows * media.num_tokens(sample[0].shape) / seconds,
        kept=float(np.concatenate(stays).mean()),
        is_steady=is_steady,
    )


def _is_steady(media: PictureTokenizer | RecordingTokenizer, batch: list[Chunk]) -> bool:
    """Whether bits stay in another place of the batch, and without the others."""
    # A graph gives no features.
    compute = media.encode if isinstance(media, OnnxTokenizer) else media.embed
    together, moved, alone = compute(batch), compute(batch[1:] + batch[:1]), compute(batch[:1])
    pairs = zip([*together, together[0]], [moved[-1], *moved[:-1], alone[0]], strict=True)
    return all(np.array_equal(one, two) for one, two in pairs)


def _seconds(function: Callable[[], object]) -> float:
    """Seconds of one call: the least of some, for what else runs here only ever adds."""
    times: list[float] = []
    while len(times) < _PASSES or sum(times) < _MEASURED_S:
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def _free() -> None:
    """Give back what a batch that was too large has left on a card."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
