"""Alignments in every published form say the same; frames carry the phone of their middle."""

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score

from dvse.audio.preparer import AudioPreparer
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.windows import FrameGrid, Windowing
from dvse.errors import TrainingError
from dvse.items import Audio
from pipelines.evaluation.alignments import read_alignments
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.inputs import Input
from pipelines.evaluation.phone_agreement import frame_times, phone_figures

SPANS = [(0.0, 0.1, "sil"), (0.1, 0.25, "AH0"), (0.25, 0.3, "N")]
LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.3
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.3
            text = "an ""odd"" 2 word"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 0.3
        points: size = 1
        points [1]:
            number = 0.2
            mark = "x"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.3
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.1
            text = "sil"
        intervals [2]:
            xmin = 0.1
            xmax = 0.25
            text = "AH0"
        intervals [3]:
            xmin = 0.25
            xmax = 0.3
            text = "N"
"""
SHORT = """File type = "ooTextFile"
"TextGrid"

0
0.3
<exists>
1
"IntervalTier"
"anna - phones"
0
0.3
3
0
0.1
"sil"
0.1
0.25
"AH0"
0.25
0.3
"N"
"""
FRAMES = ["sil"] * 10 + ["AH0"] * 15 + ["N"] * 5


def write_long(folder):
    (folder / "grids" / "84").mkdir(parents=True)
    (folder / "grids" / "84" / "84-1.TextGrid").write_text(LONG)
    return folder / "grids"


def write_short(folder):
    (folder / "84-1.textgrid").write_text(SHORT, encoding="utf-16")
    return folder / "84-1.textgrid"


def write_ctm(folder):
    rows = [f"84-1 1 {a:.2f} {b - a:.2f} {p} 0.99" for a, b, p in reversed(SPANS)]
    (folder / "dev.ctm").write_text("\n".join([";; made by hand", *rows]))
    return folder / "dev.ctm"


def write_hubert(folder):
    (folder / "dev.tsv").write_text("/root\n84/84-1.flac\t4800\n")
    (folder / "dev.phn").write_text(" ".join(FRAMES) + "\n")
    return folder / "dev.phn"


def write_hubert_phones(folder):
    (folder / "dev-clean.tsv").write_text(f"84-1\t{','.join(FRAMES)}\n")
    return folder / "dev-clean.tsv"


def write_per_frame(folder):
    (folder / "ali.txt").write_text(f"84-1 {' '.join(FRAMES)}\n")
    return folder / "ali.txt"


def write_lengths(folder):
    (folder / "ali.1.txt").write_text("84-1 sil 10 ; AH0 15 ; N 5\n")
    return folder / "ali.1.txt"


@pytest.mark.parametrize(
    "write",
    [
        write_long,
        write_short,
        write_ctm,
        write_hubert,
        write_hubert_phones,
        write_per_frame,
        write_lengths,
    ],
)
def test_every_form_says_the_same(write, tmp_path):
    ((name, alignment),) = read_alignments(write(tmp_path), keep_stress=True).items()
    assert name == "84-1"
    found = [(round(s.start_s, 6), round(s.stop_s, 6), s.phone) for s in alignment.spans]
    assert found == SPANS
    assert alignment.at([0.0, 0.0999, 0.1, 0.26, 0.31]) == ["sil", "sil", "AH0", "N", None]


def test_stress_goes_and_numbers_that_are_no_stress_stay(tmp_path):
    """HuBERT's `read_phn` takes it out of ARPAbet; tones and numbers of phones are none."""
    (tmp_path / "a.txt").write_text("84-1 AH0 AH1 EY2 N SIL ah0 a55 12 IY5\n")
    (alignment,) = read_alignments(tmp_path / "a.txt").values()
    found = alignment.at([0.005 + 0.01 * place for place in range(9)])
    assert found == ["AH", "AH", "EY", "N", "SIL", "ah0", "a55", "12", "IY5"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "/root\n84/84-1.flac\t4800\n", "line 1: expected 'utterance<TAB>phone,phone"),
        ("a.tsv", "84-1\tAH,,N\n", "line 1: expected 'utterance<TAB>phone,phone"),
        ("a.txt", "84-1\tAH,N\n", "line 1: expected 'utterance phone"),
        ("a.txt", '84-1 ",GO," "0.5,0.9"\n', "line 1: expected 'utterance phone"),
        ("a.txt", "84-1\n", "line 1: expected 'utterance phone"),
        ("a.TextGrid", "nothing", "no TextGrid"),
        ("a.TextGrid", SHORT.replace("anna - phones", "words"), "expected a tier phones"),
        ("a.ctm", "84-1 1 0.0\n", "line 1: expected utterance"),
        ("a.txt", "84-1 AH ; N 5\n", "line 1: expected 'phone count'"),
        ("a.txt", "", "found none"),
        ("a.phn", "AH AH\n", "a.tsv"),
    ],
)
def test_what_is_no_alignment(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_alignments(tmp_path / name)


@pytest.mark.parametrize("windowing", [Windowing(window_frames=20, hop_frames=15), None])
def test_frames_have_the_times_of_their_samples(windowing):
    plan = windowing or SampleChunks(chunk_samples=8000)
    grid = FrameGrid(stride=320, reach=400)
    preparer = AudioPreparer(sample_rate_hz=16_000, grid=grid, windowing=plan, pad_samples=40)
    count = 30_000
    chunks = list(preparer.prepare(Audio(np.zeros(count, np.float32) + 0.1, 16_000)))
    frames = sum(chunk.keep[1] - chunk.keep[0] for chunk in chunks)
    times = frame_times(preparer, frames)
    if windowing:
        assert frames == grid.num_frames(count + 80)
        expected = [(320 * n + 200 - 40) / 16_000 for n in range(frames)]
    else:
        inside = [grid.num_frames(min(8000, count + 80 - s)) for s in range(0, count + 80, 8000)]
        expected = [
            (8000 * c + 320 * n + 200 - 40) / 16_000 for c, k in enumerate(inside) for n in range(k)
        ]
    assert times.tolist() == pytest.approx(expected)


def test_figures_of_phones_are_those_of_another_formula(tmp_path):
    alignments = read_alignments(write_per_frame(tmp_path), keep_stress=True)
    grid = FrameGrid(stride=160, reach=160)  # 100 frames a second at 16 kHz, as the labels
    preparer = AudioPreparer(
        sample_rate_hz=16_000, grid=grid, windowing=Windowing(window_frames=99, hop_frames=99)
    )
    rng = np.random.default_rng(0)
    units = np.r_[np.repeat([0, 1, 2], [8, 14, 8]), [3, 3]]  # two frames behind the alignment
    units[rng.integers(0, 30, 5)] = 4
    entries = [
        EncodedInput(
            source=Input(item=None, name=name),
            data=np.zeros(1),
            codes=units[:, None],
            features=np.zeros((32, 1)),
            grid=None,
            duration_s=0.3,
        )
        for name in ("84-1", "another")
    ]
    found = phone_figures(entries, alignments, preparer, 5)
    assert (found["frames"], found["phones"], found["not_aligned"]) == (30, 3, 1)
    assert found["pnmi"] == pytest.approx(homogeneity_score(FRAMES, units[:30]), abs=1e-4)
    best = {
        u: max(
            set(FRAMES),
            key=lambda p: sum(f == p for f, v in zip(FRAMES, units[:30], strict=True) if v == u),
        )
        for u in set(units[:30])
    }
    right = [best[u] == f for f, u in zip(FRAMES, units[:30], strict=True)]
    assert found["phone_purity"] == pytest.approx(np.mean(right), abs=1e-4)
    for phone, figures in found["per_phone"].items():
        mine = [r for r, f in zip(right, FRAMES, strict=True) if f == phone]
        assert figures["frames"] == len(mine)
        assert figures["recognised"] == pytest.approx(np.mean(mine), abs=0.35)
