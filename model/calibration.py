"""Setting gate thresholds so that a wanted share of the arithmetic is skipped.

Gates are scored on data, and one threshold for all layers is searched such that the model, run with
it, saves what is wanted: closing gates in one layer changes what later layers see, so the saving is
measured with the gates working, not predicted. Gates that were never trained say the same for every
token; they are fitted first, without gradients.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .errors import CalibrationError
from .evaluation import Batch, as_inputs, evaluating, mask_of, on_device, perplexity
from .gate_fitting import fit_gates
from .modeling_dvse import DvseForCausalLM
from .sizes import ffn_flops, forward_flops

# Bisections of the threshold: each halves the range, 2⁻¹² of it remains.
_NUM_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class GateCalibration:
    """What `calibrate_gates` set and measured.

    Attributes:
        thresholds: one logit a layer, now in the model's configuration.
        open_share: share of tokens whose gate is open, one number a layer.
        saving_wanted, saving: share of a forward pass's FLOPs that is skipped.
        perplexity_before: with all gates open, that is, of the dense model.
        perplexity_after: with the thresholds.
        num_tokens: tokens of the data, padding not counted.
        is_fitted: whether the gates were untrained and fitted here.
    """

    thresholds: tuple[float, ...]
    open_share: tuple[float, ...]
    saving_wanted: float
    saving: float
    perplexity_before: float
    perplexity_after: float
    num_tokens: int
    is_fitted: bool


def calibrate_gates(
    model: DvseForCausalLM,
    data: Iterable[Batch],
    saving: float = 0.18,
    *,
    evaluation_data: Iterable[Batch] | None = None,
) -> GateCalibration:
    """Set the model's gate thresholds so that `saving` of its FLOPs is skipped on `data`.

    Args:
        model: with gates (`use_token_gate`); its `config.gate_thresholds` are set, and untrained
            gates (all weights zero) are fitted with `fit_gates`.
        data: batches, each `[B, T]` ids or a dictionary with `input_ids` and `attention_mask`.
        saving: wanted share of all FLOPs of a forward pass, head included, 0 to below 1.
        evaluation_data: where perplexity is reported, `data` by default.

    Returns:
        The thresholds, the saving they reach (at least the wanted one), perplexity before and
        after.

    Raises:
        CalibrationError: no gates, no data, or more saving than all FFNs together take.
    """
    if not model.config.use_token_gate:
        raise CalibrationError(
            "expected a model with gates, got use_token_gate=False: load it with "
            "from_pretrained(..., use_token_gate=True)."
        )
    batches = [as_inputs(batch) for batch in data]
    held_out = batches if evaluation_data is None else [as_inputs(b) for b in evaluation_data]
    if not batches or not held_out:
        raise CalibrationError("expected at least one batch of ids, got no data.")
    before_all = model.config.gate_thresholds
    try:
        with evaluating(model):
            return _calibrate(model, batches, held_out, saving)
    except BaseException:
        model.config.gate_thresholds = before_all
        raise


def _calibrate(
    model: DvseForCausalLM,
    batches: list[dict[str, torch.Tensor]],
    held_out: list[dict[str, torch.Tensor]],
    saving: float,
) -> GateCalibration:
    most = _saving(model, batches, [0.0] * model.config.num_hidden_layers)
    if not 0 <= saving <= most:
        raise CalibrationError(
            f"saving must lie between 0 and {most:.2f}, the share of all FFNs together on this "
            f"data, got {saving}."
        )
    model.config.gate_thresholds = _all(model, -math.inf)
    perplexity_before = perplexity(model, held_out)
    is_untrained = all(not layer.token_gate.weight.any() for layer in model.model.layers)
    if is_untrained:
        fit_gates(model, batches)
    shares, threshold = _search(model, batches, saving)
    model.config.gate_thresholds = _all(model, threshold)
    return GateCalibration(
        thresholds=tuple(model.config.gate_thresholds),
        open_share=tuple(shares),
        saving_wanted=saving,
        saving=_saving(model, batches, shares),
        perplexity_before=perplexity_before,
        perplexity_after=perplexity(model, held_out),
        num_tokens=sum(int(mask_of(batch).sum()) for batch in batches),
        is_fitted=is_untrained,
    )


def _search(
    model: DvseForCausalLM, batches: list[dict[str, torch.Tensor]], saving: float
) -> tuple[list[float], float]:
    """Lowest threshold found that saves enough, and each layer's open share with it."""
    low, high = _logit_range(model, batches)
    shares, threshold = _open_shares(model, batches, high), high
    for _ in range(_NUM_STEPS):
        middle = (low + high) / 2
        tried = _open_shares(model, batches, middle)
        if _saving(model, batches, tried) >= saving:
            high, shares, threshold = middle, tried, middle
        else:
            low = middle
    return shares, threshold


@torch.no_grad()
def _open_shares(
    model: DvseForCausalLM, batches: list[dict[str, torch.Tensor]], threshold: float
) -> list[float]:
    model.config.gate_thresholds = _all(model, threshold)
    is_open = torch.zeros(model.config.num_hidden_layers)
    count = 0
    for batch in batches:
        mask = mask_of(batch).bool()
        for index, logits in enumerate(_gate_logits(model, batch)):
            is_open[index] += int((logits.cpu() >= threshold)[mask].sum())
        count += int(mask.sum())
    return (is_open / count).tolist()


@torch.no_grad()
def _logit_range(
    model: DvseForCausalLM, batches: list[dict[str, torch.Tensor]]
) -> tuple[float, float]:
    """Thresholds below which all gates are open and above which all are closed."""
    model.config.gate_thresholds = _all(model, -math.inf)
    logits = [gate for batch in batches for gate in _gate_logits(model, batch)]
    low = min(float(gate.min()) for gate in logits)
    high = max(float(gate.max()) for gate in logits)
    margin = max(1.0, high - low)
    return low - 1e-3, high + margin


def _gate_logits(
    model: DvseForCausalLM, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    outputs = model.model(**on_device(batch, model), use_cache=False, output_gate_logits=True)
    return outputs.gate_logits


def _saving(
    model: DvseForCausalLM, batches: list[dict[str, torch.Tensor]], shares: list[float]
) -> float:
    """Share of the data's FLOPs that closed gates skip, the gates' own cost taken off."""
    config = model.config
    dense = skipped = 0.0
    for batch in batches:
        for length in mask_of(batch).sum(dim=1).tolist():
            flops = forward_flops(config, int(length))
            dense += flops.total - flops.gates
            skipped -= flops.gates
            skipped += length * sum((1 - s) * ffn_flops(config, i) for i, s in enumerate(shares))
    return skipped / dense


def _all(model: DvseForCausalLM, threshold: float) -> list[float]:
    return [threshold] * model.config.num_hidden_layers
