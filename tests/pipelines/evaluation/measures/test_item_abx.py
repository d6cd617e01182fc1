"""ABX over items: the fast path against a slow oracle, triple by triple, from the definition."""

import itertools
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from peers import run_in

from dvse.errors import TrainingError
from pipelines.evaluation.measures.dtw import path_normalized
from pipelines.evaluation.measures.item_abx import (
    Item,
    cut_items,
    item_abx_error,
    read_items,
)


def slow_dtw(cost):
    """The table, then the path back from its end."""
    n, m = cost.shape
    total = np.zeros((n, m), np.float32)
    for i, j in itertools.product(range(n), range(m)):
        before = [
            total[a, b] for a, b in ((i - 1, j), (i - 1, j - 1), (i, j - 1)) if a >= 0 and b >= 0
        ]
        total[i, j] = cost[i, j] + (min(before) if before else np.float32(0))
    i, j, length = n - 1, m - 1, 1
    while i or j:
        if not i:
            j -= 1
        elif not j:
            i -= 1
        elif total[i - 1, j - 1] <= min(total[i, j - 1], total[i - 1, j]):
            i, j = i - 1, j - 1
        elif total[i, j - 1] <= total[i - 1, j]:
            j -= 1
        else:
            i -= 1
        length += 1
    return total[-1, -1] / np.float32(length)


def slow_distance(one, other, is_discrete):
    cost = np.zeros((len(one), len(other)), np.float32)
    for i, j in itertools.product(range(len(one)), range(len(other))):
        if is_discrete:
            cost[i, j] = one[i, 0] != other[j, 0]
            continue
        a, b = (v[k].astype(np.float64) for v, k in ((one, i), (other, j)))
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        if norms:
            cost[i, j] = math.acos(max(-1.0, min(1.0, float(a @ b) / norms))) / math.pi
        else:
            cost[i, j] = float("nan")
    return slow_dtw(cost)


def slow_error(items, frames, speaker, context, is_discrete=False):
    def distance(x, y):
        return slow_distance(frames[x], frames[y], is_discrete)

    def around(i):
        return (items[i].before, items[i].after) if context == "within" else ()

    cells = {}
    for a, b, x in itertools.product(range(len(items)), repeat=3):
        p, q, r = items[a], items[b], items[x]
        if p.phone != r.phone or p.phone == q.phone or a == x:
            continue
        if not around(a) == around(b) == around(x) or p.speaker != q.speaker:
            continue
        if (p.speaker == r.speaker) != (speaker == "within"):
            continue
        key = (p.phone, q.phone, around(a), p.speaker, r.speaker)
        to_a, to_b = distance(x, a), distance(x, b)
        cells.setdefault(key, []).append(0.5 if to_a == to_b else float(to_a > to_b))
    scores = {key: np.mean(found) for key, found in cells.items()}
    pairs = {}
    for (p, q, _, name, _), score in scores.items():
        by = name if context == "within" else ""
        pairs.setdefault((p, q), {}).setdefault(by, []).append(score)
    return np.mean([np.mean([np.mean(v) for v in by.values()]) for by in pairs.values()])


def made(seed, *, is_discrete=False, count=26):
    rng = np.random.default_rng(seed)
    items, frames = [], []
    centres = {phone: rng.standard_normal(6) for phone in ("AH", "IH", "K")}
    for number in range(count):
        phone, speaker = rng.choice(["AH", "IH", "K"]), rng.choice(["s1", "s2", "s3"])
        before = rng.choice(["B", "T"])
        items.append(
            Item(
                file="f",
                onset=Decimal(number),
                offset=Decimal(number + 1),
                phone=str(phone),
                before=str(before),
                after="N",
                speaker=str(speaker),
            )
        )
        length = rng.integers(1, 7)
        if is_discrete:
            frames.append(rng.integers(0, 4, (length, 1)))
        else:
            noise = rng.standard_normal((length, 6))
            frames.append((centres[phone] + 1.5 * noise).astype(np.float32))
    return items, frames


def test_warping_is_the_slow_one_ties_among_it():
    rng = np.random.default_rng(0)
    for is_flat in (False, True):
        sizes = rng.integers(1, 9, (200, 2))
        costs = np.full((200, 8, 8), np.nan, np.float32)
        for number, (n, m) in enumerate(sizes):
            table = rng.integers(0, 2, (n, m)) if is_flat else rng.random((n, m))
            costs[number, :n, :m] = table
        wanted = [slow_dtw(costs[k, :n, :m]) for k, (n, m) in enumerate(sizes)]
        found = path_normalized(costs, sizes[:, 0], sizes[:, 1])
        assert found.tolist() == wanted


@pytest.mark.parametrize("is_discrete", [False, True], ids=["angles", "units"])
@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("speaker", ["within", "across"])
def test_the_error_is_the_slow_one(speaker, context, is_discrete):
    for seed in range(2):
        items, frames = made(seed, is_discrete=is_discrete)
        found = item_abx_error(
            items, frames, speaker=speaker, context=context, is_discrete=is_discrete
        )
        wanted = slow_error(items, frames, speaker, context, is_discrete)
        assert 0.02 < wanted < 0.98
        assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("distance", "is_discrete"), [("angular", False), ("identical", True)])
def test_fastabx_finds_the_same(distance, is_discrete, tmp_path):
    """fastabx wants Python 3.12 and later; a frame in twenty is silent."""
    rng = np.random.default_rng(0)
    lines = ["#file onset offset #phone prev-phone next-phone speaker"]
    for number in range(120):
        start = rng.integers(0, 200) / 100 + 0.0025
        stop = start + rng.integers(4, 16) / 100
        phone, speaker = rng.choice(["AH", "IH", "K"]), rng.choice(["s1", "s2"])
        around = f"{rng.choice(['B', 'T'])} N"
        lines.append(f"f{number % 4} {start:.4f} {stop:.4f} {phone} {around} {speaker}")
    path = tmp_path / "all.item"
    path.write_text("\n".join(lines) + "\n")
    files = {}
    for number in range(4):
        shape = (120, 1) if is_discrete else (120, 16)
        values = rng.integers(0, 5, shape) if is_discrete else rng.standard_normal(shape)
        if not is_discrete:
            values[rng.random(120) < 0.05] = 0
        files[f"f{number}"] = values.astype(np.float32)
        np.save(tmp_path / f"f{number}.npy", files[f"f{number}"])
    script = Path(__file__).parent / "peers" / "run_fastabx.py"
    found_there = run_in("fastabx", script, path, tmp_path, distance)
    items = read_items(path)
    frames = cut_items(items, files.__getitem__, rate_hz=Decimal(50))
    for how, wanted in json.loads(found_there.splitlines()[-1]).items():
        speaker, context = how.split()
        found = item_abx_error(
            items, frames, speaker=speaker, context=context, is_discrete=is_discrete
        )
        assert found == pytest.approx(wanted, abs=1e-6)


def test_silence_is_as_far_from_everything_as_can_be():
    sound = np.array([[1.0, 0.0]], np.float32)
    items, _ = made(0, count=3)
    phones = ("AH", "AH", "IH")
    items = [
        Item(file="f", onset=i.onset, offset=i.offset, phone=p, before="B", after="N", speaker="s")
        for i, p in zip(items, phones, strict=True)
    ]
    zero = np.zeros((1, 2), np.float32)
    assert item_abx_error(items, [sound, sound, zero]) == 0.0
    assert item_abx_error(items, [zero, zero, sound]) == 0.0


def test_frames_of_items_are_decimal_and_both_ends_are_included(tmp_path):
    path = tmp_path / "a.item"
    header = "#file onset offset #phone prev-phone next-phone speaker\n"
    path.write_text(header + "u 0.2925 0.4725 IH L NG 1\nu 0.01 0.03 K B T 1\n")
    items = read_items(path)
    # Middles of frames lie at 0.01 + 0.02 n: 15 … 23 are at 0.31 … 0.47.
    frames = np.arange(30)[:, None]
    cut = cut_items(items, lambda name: frames, rate_hz=Decimal(50))
    assert [one[:, 0].tolist() for one in cut] == [list(range(15, 24)), [0, 1]]
    with pytest.raises(TrainingError, match=r"would be frames 15\.\.23 of 20"):
        cut_items(items, lambda name: frames[:20], rate_hz=Decimal(50))
    path.write_text(header + "u 0.1 IH\n")
    with pytest.raises(TrainingError, match="line 2 is no item"):
        read_items(path)
    path.write_text("file onset\n")
    with pytest.raises(TrainingError, match="item file that begins with"):
        read_items(path)
    with pytest.raises(TrainingError, match="one of them said twice"):
        item_abx_error(items, cut)
