"""`dvse plan batches`: measured on a tokenizer whose times are known, and chosen by hand."""

import time

import numpy as np
import PIL.Image
import pytest
import soundfile

from dvse.chunk import Chunk
from dvse.fixed_batches import map_batches
from dvse.image.decode_limits import DecodeLimits
from dvse.image.geometry import SquareGeometry
from dvse.image.picture_tokenizer import PictureTokenizer
from dvse.image.preparer import ImagePreparer
from pipelines.cli import main
from pipelines.job.batch_plan import BatchPlan, Tried, best_budget, plan_batches


class Clock:
    """A clock that moves when somebody computes: a busy machine takes as long as an idle one."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    return clock


class Costly(PictureTokenizer):
    """A pass takes 10 ms and 1 ms a row; 64 tokens a picture, two rows by default.

    The feature of a place is the picture's first value. Alone, that of a black picture is another
    one; in `unsteady` rows it depends on the row.
    """

    num_codes, num_levels = 256, 1
    default_batch_tokens = 128

    def __init__(self, clock, *, most_rows=1 << 30, unsteady=()):
        self._clock, self._most_rows, self._unsteady = clock, most_rows, unsteady
        geometry = SquareGeometry(size=32, patch_size=4)
        self._preparer = ImagePreparer(geometry=geometry, limits=DecodeLimits())

    def embed(self, chunks):
        return map_batches(chunks, self.batch_rows, self._compute)

    def _compute(self, pixels):
        rows = len(pixels)
        if rows > self._most_rows:
            raise MemoryError
        self._clock.now += 0.010 + 0.001 * rows
        values = pixels[:, 0, 0, 0].astype(np.float32)
        if rows == 1:
            values[values == 0] = 9
        if rows in self._unsteady:
            values += np.arange(rows) / 1000
        return np.repeat(values[:, None, None], 64, axis=1)

    def quantize(self, features):
        return [one.astype(np.int32) for one in features]

    def spec(self):
        raise NotImplementedError

    save_files = from_spec = spec


def pictures(count=4):
    """Of 32 x 32 pixels, the first one black; one more of another shape."""
    shapes = [(32, 32, 3)] * count + [(16, 32, 3)]
    return [
        Chunk(modality="image", data=np.full(shape, number, np.uint8))
        for number, shape in enumerate(shapes)
    ]


def rates(plan):
    return {tried.batch_tokens: tried.tokens_per_s for tried in plan.tried}


def test_budgets_are_doubled_until_two_in_a_row_bring_nothing(clock):
    plan = plan_batches(Costly(clock), pictures())
    assert plan.what == "image: 32x32 pixels, 64 tokens each, 4 tried"
    # 64 r tokens in 10 + r ms. 512 rows are 1.9 % faster than 256, 1,024 another 1.0 %.
    wanted = {64 * r: 64 * r / (0.010 + 0.001 * r) for r in (2**n for n in range(11))}
    assert rates(plan) == pytest.approx(wanted)
    assert [tried.rows for tried in plan.tried] == [2**n for n in range(11)]
    assert plan.default.rows == 2 and plan.default.is_usable and plan.default.kept == 1
    assert plan.default.tokens_per_s == pytest.approx(wanted[128])
    # One of four pictures has other codes where it is alone.
    assert [tried.kept for tried in plan.tried] == [0.75] + 10 * [1.0]
    # 256 rows: 61,594 tokens/s; 1,024: 63,381, of which 97 % are 61,479.
    assert best_budget([plan]) == 16_384


def test_where_memory_ends_the_budgets_before_are_what_there_is(clock):
    plan = plan_batches(Costly(clock, most_rows=64), pictures())
    assert rates(plan)[8192] == 0 and max(rates(plan)) == 8192
    assert best_budget([plan]) == 4096
    lines = plan.table().splitlines()
    assert lines[-1].split() == ["8,192", "128", "not", "enough", "memory"]
    # 64 x 64 tokens in 74 ms
    assert lines[-2].split() == ["4,096", "64", "55,351", "100.00", "%"]
    assert lines[2].split() == ["default", "2", "10,667", "100.00", "%"]


def test_a_budget_whose_features_depend_on_neighbours_is_never_chosen(clock):
    plan = plan_batches(Costly(clock, most_rows=64, unsteady=(64,)), pictures())
    assert [tried.rows for tried in plan.tried if not tried.is_steady] == [64]
    assert best_budget([plan]) == 2048
    assert "4,096" in plan.table() and "no: neighbours change features" in plan.table()


def test_other_errors_are_not_taken_for_a_lack_of_memory(clock):
    class Broken(Costly):
        def _compute(self, pixels):
            if len(pixels) > 2:
                raise RuntimeError("a kernel of our own making")
            return super()._compute(pixels)

    with pytest.raises(RuntimeError, match="of our own making"):
        plan_batches(Broken(clock), pictures())


def test_nothing_is_measured_where_each_chunk_is_alone(clock):
    class Alone(Costly):
        def batch_rows(self, shape):
            return 1

    assert plan_batches(Alone(clock), pictures()) is None


def made(default, tried):
    """A plan with these tokens a second."""
    return BatchPlan(
        what="",
        default=Tried(batch_tokens=None, rows=1, tokens_per_s=default),
        tried=[Tried(batch_tokens=n, rows=1, tokens_per_s=rate) for n, rate in tried.items()],
    )


def test_one_budget_for_pictures_and_sound():
    image = made(50, {64: 50, 128: 100, 256: 100})
    audio = made(10, {512: 10, 1024: 20, 2048: 20})
    # Pictures gain nothing beyond 256 and lose nothing, sound is alone below 512.
    assert best_budget([image, audio]) == 1024
    # Memory ends at 256, so that beyond 128 no budget serves both; 64 is half as fast for both.
    assert (
        best_budget([made(50, {64: 50, 128: 80, 256: 100}), made(5, {64: 10, 128: 20, 256: 0})])
        == 128
    )


def test_the_default_is_kept_where_it_is_as_good():
    assert best_budget([made(97, {64: 50, 128: 100})]) is None
    assert best_budget([made(96, {64: 50, 128: 100})]) == 128
    assert best_budget([]) is None


@pytest.fixture
def media(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    soundfile.write(tmp_path / "long.wav", rng.uniform(-0.5, 0.5, 40_000), 8000)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "a.txt").write_text("a text")
    return tmp_path


def test_the_command(media, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.job.batch_plan._MOST_TOKENS", 256)
    monkeypatch.setattr("pipelines.job.batch_plan._MEASURED_S", 0.0)
    words = ["plan", "batches", "--threads", "1"]
    assert main([*words, str(media)]) == 0
    text = capsys.readouterr().out
    assert "image: 32x32 pixels" in text and "each, 3 tried" in text
    assert "audio: " in text and text.count("codes that stay") == 2
    assert "default" in text and "--batch-tokens" in text.splitlines()[-1]
    assert main([*words, str(media / "a.txt")]) == 3
    assert "no picture and no recording" in capsys.readouterr().out
    assert main([*words, str(media), "--samples", "0"]) == 2
    assert main([*words, str(media), "--precision", "tf32"]) == 2
    assert "CUDA cards only" in capsys.readouterr().err


def test_recordings_shorter_than_a_window_are_encoded_alone(tmp_path, capsys):
    soundfile.write(tmp_path / "short.wav", np.zeros(2000), 8000)
    assert main(["plan", "batches", "--threads", "1", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines() == [
        "audio: nothing in the sample shares a batch; of recordings only full windows do",
        "--batch-tokens would change nothing",
    ]
