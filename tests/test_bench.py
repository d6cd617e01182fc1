"""Benchmarks of whole jobs, precisions and budgets run to the end, at sizes that prove nothing."""

import functools
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1700)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The folder on the path, one pair each, and inputs of a second or two."""
    monkeypatch.syspath_prepend(str(BENCH))
    import bench_budget
    import bench_job
    import bench_precision

    monkeypatch.setattr(bench_job, "_PAIRS", 1)
    monkeypatch.setattr(bench_job, "_WATCHED", 1)
    monkeypatch.setattr(bench_job, "_LENGTHS_S", (1.0, 1.5))
    monkeypatch.setattr(bench_precision, "_PAIRS", 1)
    monkeypatch.setattr(bench_precision, "_NUM_PHOTOS", 5)
    monkeypatch.setattr(bench_precision, "_LENGTHS_S", (1.0,))
    monkeypatch.setattr(
        bench_precision, "_bundle", functools.partial(bench_precision._bundle, vit="vit_tiny")
    )
    monkeypatch.setattr(bench_budget, "_PICTURES", 3)
    monkeypatch.setattr(bench_budget, "_SECONDS", 3.0)
    yield
    for path in BENCH.glob("[a-z]*.py"):
        sys.modules.pop(path.stem, None)


def rows_of(rows):
    """Name, ours and ratio of each row; a ratio is ours against a peer's."""
    found = {row.name: row for row in rows}
    for row in found.values():
        assert row.ours >= 0 and row.note
        assert (row.ratio is None) == (row.peer is None) or row.ratio > 0
    return found


def test_a_job_of_pictures(tmp_path):
    import bench_job

    found = rows_of(bench_job._pictures(tmp_path, "tiny", 5))
    assert set(found) == {"job.vit_tiny_busy", "job.vit_tiny_pace", "job.vit_tiny_500x375"}
    assert 0 < found["job.vit_tiny_busy"].ours < 1
    assert found["job.vit_tiny_500x375"].bar == ">= 0.90"
    assert {"pictures", "pictures_base", "speech", "workers"} <= set(bench_job.CASES)


def test_a_job_of_recordings(tmp_path):
    pytest.importorskip("datasets")
    import bench_job

    found = rows_of(bench_job._speech(tmp_path))
    assert set(found) == {"job.wav2vec2_speech", "job.wav2vec2_vs_datasets_map"}


@pytest.mark.parametrize("name", ["vit_base", "wav2vec2_base"])
def test_precisions(name):
    import bench_precision

    from dvse.errors import ConfigError
    from dvse.precision import check_precision

    try:
        check_precision("bfloat16", "cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    found = rows_of(bench_precision.CASES[name]())
    assert found[f"precision.{name}"].bar == ">= 1.8"
    assert 0.5 < found[f"precision.{name}_codes_kept"].ours <= 1


@pytest.mark.parametrize("name", ["tiny_pictures", "tiny_speech"])
def test_budgets(name, monkeypatch):
    import bench_budget

    monkeypatch.setattr("pipelines.job.batch_plan._MOST_TOKENS", 512)
    monkeypatch.setattr("pipelines.job.batch_plan._MEASURED_S", 0.0)
    found = rows_of(bench_budget.CASES[name]())
    assert 0 <= found[f"budget.{name}.changed"].ours <= 1
    assert found[f"budget.{name}.512"].ratio > 0


def test_ways_to_run_an_encoder(monkeypatch):
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    import bench_encoders

    monkeypatch.setattr(bench_encoders, "_PAIRS", 1)
    found = rows_of(bench_encoders._pictures("vit_tiny"))
    ways = ("torch.compile", "onnx_runtime", "openvino")
    assert set(found) == {f"encoders.vit_tiny.{way}" for way in ways}
    assert all(row.ours > 0 and "of codes the same" in row.note for row in found.values())


def test_decoding(monkeypatch):
    import bench_decoding

    monkeypatch.setattr(bench_decoding, "_SIZES", {"60x40": (60, 40, 2)})
    found = rows_of(bench_decoding.rows())
    assert set(found) == {"decoding.60x40_to_224", "decoding.60x40_full_size"}
