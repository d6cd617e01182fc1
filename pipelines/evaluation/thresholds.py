"""Thresholds on the figures, and whether a bundle passes them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError

DEFAULT_THRESHOLDS = Path(__file__).with_name("default_thresholds.json")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One threshold and what was measured.

    Attributes:
        metric: dotted name in `metrics.json`.
        bound: in words, `at least 0.98`.
        value: what was measured; `None` where it was not.
        is_met: false where it was missed; what was not measured and may be missing counts as met.
    """

    metric: str
    bound: str
    value: float | None
    is_met: bool


def judge(metrics: Mapping[str, Any], thresholds: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Hold figures against thresholds.

    A threshold is `{"at_least": x}` or `{"at_most": x}`; with `"required": true` it is missed
    where the figure is missing. `"where": {"num_seen_a_code": 20}` judges only where that figure
    beside it is at least so much, and counts as not measured elsewhere: of 400 frames, 500 codes
    cannot all have been seen.

    >>> verdicts = judge({"image": {"psnr_db": 23.5}}, {"image.psnr_db": {"at_least": 22}})
    >>> verdicts[0].is_met, verdicts[0].bound
    (True, 'at least 22')
    """
    verdicts = []
    for metric, rule in thresholds.items():
        value = _find(metrics, metric) if _is_enough(metrics, metric, rule) else None
        bounds = [name for name in ("at_least", "at_most") if name in rule]
        is_met = value is not None or not rule.get("required", False)
        if value is not None and "at_least" in rule:
            is_met &= value >= rule["at_least"]
        if value is not None and "at_most" in rule:
            is_met &= value <= rule["at_most"]
        bound = " and ".join(f"{name.replace('_', ' ')} {rule[name]:g}" for name in bounds)
        for name, least in rule.get("where", {}).items():
            bound += f", judged from {name} {least:g} on"
        verdicts.append(Verdict(metric=metric, bound=bound, value=value, is_met=is_met))
    return verdicts


def read_thresholds(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read thresholds from a file, by default the ones that come with DVSE.

    Raises:
        ConfigError: no such file, or not thresholds.
    """
    path = path or DEFAULT_THRESHOLDS
    try:
        thresholds = json.loads(path.read_text(encoding="utf-8"))
        for metric, rule in thresholds.items():
            bounds = {k: v for k, v in rule.items() if k in ("at_least", "at_most")}
            numbers = all(type(v) in (int, float) for v in bounds.values())
            where = rule.get("where", {}).values()
            numbers = numbers and all(type(v) in (int, float) for v in where)
            unknown = set(rule) - {"at_least", "at_most", "required", "where"}
            if not bounds or not numbers or unknown:
                raise ValueError(f"{metric}: received {rule}")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f'{path}: expected thresholds like {{"image.psnr_db": {{"at_least": 22}}}}; {error}'
        ) from error
    return thresholds


def is_passed(verdicts: Sequence[Verdict]) -> bool:
    """Return whether every threshold is met."""
    return all(verdict.is_met for verdict in verdicts)


def _is_enough(metrics: Mapping[str, Any], metric: str, rule: Mapping[str, Any]) -> bool:
    beside = metric.rpartition(".")[0]
    found = {name: _find(metrics, f"{beside}.{name}") for name in rule.get("where", {})}
    return all(value is not None and value >= rule["where"][n] for n, value in found.items())


def _find(metrics: Any, name: str) -> float | None:
    for key in name.split("."):
        if isinstance(metrics, Mapping):
            metrics = metrics.get(key)
        elif isinstance(metrics, Sequence) and key.isdigit() and int(key) < len(metrics):
            metrics = metrics[int(key)]
        else:
            return None
    is_number = isinstance(metrics, int | float) and not isinstance(metrics, bool)
    return float(metrics) if is_number else None
