import numpy as np
import pytest

from dvse.errors import TrainingError
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.inputs import Input
from pipelines.evaluation.probes import ProbeSettings, linear_probe, probe_figures, sequence_probe

SMALL = ProbeSettings(width=16, num_layers=1, epochs=12, batch_size=16)


def inputs(count: int, *, by_order: bool, seed: int = 0) -> list[EncodedInput]:
    """Two labels: told apart by which codes occur, or only by the order in which they do."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = number % 2
        length = int(rng.integers(8, 12))
        if by_order:
            half = [np.full(length, 1), np.full(length, 2)]
            codes = np.concatenate(half[:: 1 if label else -1])
        else:
            codes = rng.integers(0, 4, length) + 4 * label
        features = np.eye(8, dtype=np.float32)[codes] + 0.01 * rng.standard_normal((len(codes), 8))
        found.append(
            EncodedInput(
                source=Input(item=None, label="ab"[label]),
                data=np.zeros(1),
                codes=codes[:, None].astype(np.int32),
                features=features.astype(np.float32),
                grid=None,
                duration_s=1.0,
            )
        )
    return found


@pytest.mark.parametrize("use_features", [False, True])
def test_the_linear_probe_counts_codes(use_features):
    train = inputs(80, by_order=False)
    splits = {"new": inputs(40, by_order=False, seed=1), "order": inputs(40, by_order=True)}
    options = {"num_codes": 8, "use_features": use_features}
    assert linear_probe(train, {"new": splits["new"]}, **options)["new"] == 1.0
    blind = linear_probe(inputs(80, by_order=True), {"order": splits["order"]}, **options)
    assert blind["order"] < 0.8


@pytest.mark.parametrize("use_features", [False, True])
def test_the_sequence_probe_sees_order(use_features):
    train, new = inputs(96, by_order=True), inputs(40, by_order=True, seed=1)
    found = sequence_probe(
        train, {"new": new}, num_codes=8, use_features=use_features, settings=SMALL
    )
    assert found["new"] > 0.9


def test_labels_that_do_not_match():
    train = inputs(20, by_order=False)
    other = [EncodedInput(**{**vars(e), "source": Input(item=None, label="z")}) for e in train[:2]]
    with pytest.raises(TrainingError, match=r"labels that do not match: \['z'\]"):
        linear_probe(train, {"new": other}, num_codes=8, use_features=False)
    with pytest.raises(TrainingError, match="at least two labels"):
        probe_figures(train[::2], {"new": train}, num_codes=8)
