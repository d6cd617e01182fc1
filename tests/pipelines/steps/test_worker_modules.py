"""What decode workers of a job of one input import while its device loads."""

import pytest

from dvse.storage.bundle import Section
from pipelines.engines.local import LocalEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.steps import tokenize
from pipelines.steps.tokenize import TokenizeStep


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.wav", ["torchaudio.transforms"]), ("b.PNG", []), ("c.txt", []), ("folder", [])],
)
def test_recordings_need_a_resampler(name, expected):
    assert list(TokenizeStep(bundle="tiny").worker_modules([name])) == expected


def test_graphs_resample_without_torch(monkeypatch):
    class Exported:
        sections = {"audio": Section(spec={"kind": "onnx"})}

    monkeypatch.setattr(tokenize.Bundle, "open", lambda folder: Exported)
    assert list(TokenizeStep(bundle="tiny").worker_modules(["a.wav"])) == []


@pytest.mark.parametrize(("names", "expected"), [(["x"], ["colorsys"]), (["x", "y"], [])])
def test_only_a_job_of_one_input_does_so(tmp_path, monkeypatch, names, expected):
    monkeypatch.setattr(TokenizeStep, "worker_modules", lambda step, inputs: ["colorsys"])
    inputs = [str(tmp_path / f"{name}.txt") for name in names]
    for name in names:
        (tmp_path / f"{name}.txt").write_text("hello")
    engine = LocalEngine(num_workers=1)
    summary = Job(
        JobConfig(inputs=inputs, output=tmp_path / "out"), TokenizeStep(bundle="tiny"), engine
    ).run()
    assert list(engine.worker_modules) == expected
    assert summary.num_rows == len(names)
