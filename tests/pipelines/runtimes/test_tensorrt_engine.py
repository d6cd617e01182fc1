"""Engines are not built here: that each graph takes the corners of its bounds is shown by ONNX."""

import numpy as np
import pytest
from handmade_export import write_export

from dvse.errors import ConfigError
from dvse.onnx_graph import OnnxGraph
from pipelines.runtimes.engine_settings import EngineSettings
from pipelines.runtimes.tensorrt_engine import engine_bounds


def test_graphs_take_the_corners_of_their_bounds(tmp_path):
    export = write_export(tmp_path / "byhand")
    found = engine_bounds(export, EngineSettings(batch=3, prompt=20, context=60))
    assert sorted(found) == ["audio/codes.onnx", "image/codes.onnx", "model.onnx"]
    assert found["model.onnx"]["attention_mask"].largest == (3, 60)
    assert found["model.onnx"]["past_key_values.0.key"].smallest == (1, 1, 0, 8)
    assert found["image/codes.onnx"]["pixels"].smallest == (1, 4, 4, 3)
    kinds = {"pixels": np.uint8, "samples": np.float32}
    for name, inputs in found.items():
        graph = OnnxGraph(export / name)
        for corner in ("smallest", "usual", "largest"):
            shapes = {key: getattr(bounds, corner) for key, bounds in inputs.items()}
            feed = {
                key: np.zeros(
                    shape, kinds.get(key, np.float32 if key.startswith("past") else np.int64)
                )
                for key, shape in shapes.items()
            }
            first = graph.run(None, feed)[0]
            assert len(first) == next(iter(shapes.values()))[0]


def test_bounds_that_cannot_be():
    with pytest.raises(ConfigError, match="--prompt up to --context"):
        EngineSettings(prompt=9, context=8)
