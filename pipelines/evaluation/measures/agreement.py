"""How well units agree with labels: purity and PNMI.

Formulas of HuBERT (Hsu et al. 2021, "HuBERT: Self-Supervised Speech Representation Learning by
Masked Prediction of Hidden Units", section IV-C), for frames with a label y and a unit z and their
joint distribution p(y, z) as counted:

    label (phone) purity    E_p(z)[ p(y*(z) | z) ],  y*(z) = argmax_y p(y | z)
    cluster purity          E_p(y)[ p(z*(y) | y) ],  z*(y) = argmax_z p(z | y)
    PNMI                    I(y; z) / H(y)

*Deviations:* HuBERT takes y*(z) from the very frames it scores; with more units that rises on its
own. `label_purity` can take the map from other frames (training data), so that units that
fit by chance do not count.
"""

import numpy as np

from dvse.errors import TrainingError


def joint_counts(
    labels: np.ndarray, units: np.ndarray, *, num_labels: int, num_units: int
) -> np.ndarray:
    """Count frames by label and unit: `int64 [num_labels, num_units]`.

    Raises:
        TrainingError: another number of labels than of units, or one outside its range.

    >>> joint_counts(np.array([0, 1, 1]), np.array([2, 0, 0]), num_labels=2, num_units=3).tolist()
    [[0, 0, 1], [2, 0, 0]]
    """
    labels, units = np.asarray(labels).reshape(-1), np.asarray(units).reshape(-1)
    if len(labels) != len(units):
        raise TrainingError(
            f"expected a label for each unit, received {len(labels)} labels and {len(units)} units"
        )
    for name, values, limit in (("label", labels, num_labels), ("unit", units, num_units)):
        if len(values) and not (0 <= values.min() and values.max() < limit):
            raise TrainingError(
                f"expected each {name} in 0..{limit - 1}, received {values.min()}..{values.max()}"
            )
    flat = labels.astype(np.int64) * num_units + units
    return np.bincount(flat, minlength=num_labels * num_units).reshape(num_labels, num_units)


def label_map(counts: np.ndarray) -> np.ndarray:
    """Return the commonest label of each unit, `int64 [num_units]`; -1 where it never occurs.

    >>> label_map(np.array([[3, 0, 0], [1, 2, 0]])).tolist()
    [0, 1, -1]
    """
    return np.where(counts.sum(0) > 0, counts.argmax(0), -1)


def label_purity(counts: np.ndarray, units_to_labels: np.ndarray | None = None) -> float:
    """Return the share of frames whose label is the one their unit stands for.

    Args:
        counts: `[num_labels, num_units]` of the frames to score.
        units_to_labels: a `label_map` of other frames; by default of these.

    >>> counts = np.array([[3, 0], [1, 2]])
    >>> label_purity(counts), label_purity(counts, np.array([0, -1]))
    (0.8333333333333334, 0.5)
    """
    chosen = label_map(counts) if units_to_labels is None else units_to_labels
    known = np.flatnonzero(chosen >= 0)
    return float(counts[chosen[known], known].sum() / _total(counts))


def cluster_purity(counts: np.ndarray) -> float:
    """Return the share of frames that carry the commonest unit of their label.

    >>> cluster_purity(np.array([[3, 0], [1, 2]]))
    0.8333333333333334
    """
    return float(counts.max(1).sum() / _total(counts))


def pnmi(counts: np.ndarray) -> float:
    """Return the mutual information of label and unit as a share of the label's entropy.

    0 where units say nothing of labels (or there is one label only), 1 where they tell them.

    >>> round(pnmi(np.array([[2, 0], [0, 2]])), 6), round(pnmi(np.array([[1, 1], [1, 1]])), 6)
    (1.0, 0.0)
    """
    joint = counts / _total(counts)
    label, unit = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    seen = joint > 0
    information = float((joint[seen] * np.log(joint[seen] / (label @ unit)[seen])).sum())
    entropy = float(-(label[label > 0] * np.log(label[label > 0])).sum())
    return information / entropy if entropy > 0 else 0.0


def _total(counts: np.ndarray) -> int:
    total = int(counts.sum())
    if total == 0:
        raise TrainingError("expected at least one labelled frame, received none")
    return total
