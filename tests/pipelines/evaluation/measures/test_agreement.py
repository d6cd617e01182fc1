"""Formulas of HuBERT against a table worked out by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score

from dvse.errors import TrainingError
from pipelines.evaluation.measures.agreement import (
    cluster_purity,
    joint_counts,
    label_map,
    label_purity,
    pnmi,
)

# Ten frames: rows are labels a, b; columns are units 0, 1, 2.
TABLE = np.array([[3, 1, 0], [1, 2, 3]])


def test_purities_by_hand() -> None:
    # Units stand for a, b, b: 3 + 2 + 3 of 10 frames agree.
    assert label_map(TABLE).tolist() == [0, 1, 1]
    assert label_purity(TABLE) == pytest.approx(0.8)
    # The commonest units of a and b are 0 and 2: 3 + 3 of 10.
    assert cluster_purity(TABLE) == pytest.approx(0.6)


def test_pnmi_by_hand() -> None:
    entropy = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    # p(y, z) log(p(y, z) / (p(y) p(z))) of the five cells that occur.
    information = (
        0.3 * math.log(0.3 / (0.4 * 0.4))
        + 0.1 * math.log(0.1 / (0.4 * 0.3))
        + 0.1 * math.log(0.1 / (0.6 * 0.4))
        + 0.2 * math.log(0.2 / (0.6 * 0.3))
        + 0.3 * math.log(0.3 / (0.6 * 0.3))
    )
    assert pnmi(TABLE) == pytest.approx(information / entropy, abs=1e-12)


def test_pnmi_is_the_homogeneity_of_clusters() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=400)
    units = (labels * 3 + rng.integers(4, size=400)) % 11
    counts = joint_counts(labels, units, num_labels=5, num_units=11)
    assert pnmi(counts) == pytest.approx(homogeneity_score(labels, units))


def test_a_map_from_other_frames() -> None:
    training = np.array([[5, 0, 0], [0, 5, 0]])  # unit 2 was never heard
    assert label_map(training).tolist() == [0, 1, -1]
    assert label_purity(TABLE, label_map(training)) == pytest.approx(0.5)


def test_a_single_label_has_no_entropy() -> None:
    assert pnmi(np.array([[4, 2]])) == 0.0


def test_what_cannot_be_counted() -> None:
    with pytest.raises(TrainingError, match="2 labels and 3 units"):
        joint_counts(np.zeros(2, int), np.zeros(3, int), num_labels=1, num_units=1)
    with pytest.raises(TrainingError, match=r"each unit in 0\.\.3, received 0\.\.4"):
        joint_counts(np.zeros(2, int), np.array([0, 4]), num_labels=1, num_units=4)
    with pytest.raises(TrainingError, match="at least one labelled frame"):
        label_purity(np.zeros((2, 2), int))
