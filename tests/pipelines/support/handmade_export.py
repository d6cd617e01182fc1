"""An exported model whose graphs are written by hand, so that each number follows on paper.

A picture's code is the sum of a patch's mean colours, a recording's the loudest sample of a frame;
the decoder adds up the vectors of all ids that it has seen.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dvse.audio import onnx_tokenizer as audio
from dvse.audio.preparer import AudioPreparer
from dvse.audio.windows import FrameGrid, Windowing
from dvse.image import onnx_tokenizer as image
from dvse.image.decode_limits import DecodeLimits
from dvse.image.geometry import AspectGeometry
from dvse.image.preparer import ImagePreparer
from dvse.storage.bundle import Bundle, Section, write_bundle
from dvse.storage.finding import find_bundle

PATCH, FRAME, WIDTH = 4, 160, 8
_OPSET, _IR = 17, 8


def picture_codes(pixels: np.ndarray) -> np.ndarray:
    """The codes of `uint8 [H, W, 3]`, `int32 [positions, 1]`."""
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    patches = pixels.astype(np.float32).reshape(rows, PATCH, columns, PATCH, 3)
    return patches.mean((1, 3)).sum(-1).astype(np.int32).reshape(-1, 1) % 1024


def recording_codes(samples: np.ndarray, num_codes: int) -> np.ndarray:
    """The codes of `fp32 [n]`, `int32 [frames, 1]`."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return (frames.max(1) * 50).astype(np.int32).reshape(-1, 1) % num_codes


def write_export(folder: Path) -> Path:
    """Write the exported model, on the vocabulary and the text of the shipped bundle."""
    shipped = Bundle.open(find_bundle("tiny"))
    num_codes = shipped.vocabulary.num_codes("audio")
    num_picture_codes = shipped.vocabulary.num_codes("image")
    (folder / "text").mkdir(parents=True)
    name = "text/spiece.model"
    (folder / name).write_bytes((shipped.folder / name).read_bytes())
    _save(_picture_graph(), folder / "image" / "codes.onnx")
    _save(_recording_graph(num_codes), folder / "audio" / "codes.onnx")
    pictures = ImagePreparer(
        geometry=AspectGeometry(patch_size=PATCH, max_tokens=256), limits=DecodeLimits()
    )
    recordings = AudioPreparer(
        sample_rate_hz=8000,
        grid=FrameGrid(stride=FRAME, reach=FRAME),
        windowing=Windowing(window_frames=40, hop_frames=20),
    )
    sections = {
        "text": shipped.sections["text"],
        "image": Section(spec=image.onnx_spec(pictures, num_codes=num_picture_codes, num_levels=1)),
        "audio": Section(
            spec=audio.onnx_spec(recordings, merge_repeats=False, num_codes=num_codes, num_levels=1)
        ),
    }
    bundle = write_bundle(folder, name="byhand", vocabulary=shipped.vocabulary, sections=sections)
    size = shipped.vocabulary.size
    _save(_decoder_graph(size), folder / "model.onnx")
    config: dict[str, Any] = {
        "vocab_size": size,
        "max_position_embeddings": 512,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "head_dim": WIDTH,
        "bundle_fingerprint": bundle.fingerprint,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def vectors(size: int) -> tuple[np.ndarray, np.ndarray]:
    """What an id adds, `[size, WIDTH]`, and how a sum is scored, `[WIDTH, size]`."""
    draws = np.random.default_rng(1)
    added = draws.normal(size=(size, WIDTH)).astype(np.float32)
    return added, draws.normal(size=(WIDTH, size)).astype(np.float32)


def _save(graph: Any, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], **constants: Any) -> Any:
    made = [numpy_helper.from_array(np.asarray(v), name=name) for name, v in constants.items()]
    return helper.make_graph(nodes, "byhand", inputs, outputs, initializer=made)


def _value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _picture_graph() -> Any:
    node = helper.make_node
    side = {"kernel_shape": [PATCH, PATCH], "strides": [PATCH, PATCH]}
    nodes = [
        node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["means"], **side),
        node("ReduceSum", ["means", "channel"], ["sums"], keepdims=0),
        node("Cast", ["sums"], ["whole"], to=TensorProto.INT32),
        node("Mod", ["whole", "size"], ["codes_2d"]),
        node("Reshape", ["codes_2d", "shape"], ["codes"]),
    ]
    return _graph(
        nodes,
        [_value("pixels", TensorProto.UINT8, "n", "h", "w", 3)],
        [_value("codes", TensorProto.INT32, "n", "p", 1)],
        channel=np.array([1]),
        size=np.int32(1024),
        shape=np.array([0, -1, 1]),
    )


def _recording_graph(num_codes: int) -> Any:
    node = helper.make_node
    frame = {"kernel_shape": [FRAME], "strides": [FRAME]}
    nodes = [
        node("Unsqueeze", ["samples", "one"], ["plane"]),
        node("MaxPool", ["plane"], ["loudest"], **frame),
        node("Mul", ["loudest", "scale"], ["scaled"]),
        node("Cast", ["scaled"], ["whole"], to=TensorProto.INT32),
        node("Mod", ["whole", "size"], ["codes_2d"]),
        node("Reshape", ["codes_2d", "shape"], ["codes"]),
    ]
    return _graph(
        nodes,
        [_value("samples", TensorProto.FLOAT, "n", "samples")],
        [_value("codes", TensorProto.INT32, "n", "frames", 1)],
        one=np.array([1]),
        scale=np.float32(50),
        size=np.int32(num_codes),
        shape=np.array([0, -1, 1]),
    )


def _decoder_graph(size: int) -> Any:
    added, scored = vectors(size)
    node = helper.make_node
    nodes = [
        node("Gather", ["added", "input_ids"], ["new_3d"]),
        node("Unsqueeze", ["new_3d", "one"], ["new"]),
        node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        node("Concat", ["past_key_values.0.value", "new"], ["present.0.value"], axis=2),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "place"], ["mask_4d"]),
        node("Mul", ["present.0.key", "mask_4d"], ["seen"]),
        node("ReduceSum", ["seen", "two"], ["sum"], keepdims=0),
        node("MatMul", ["sum", "scored"], ["logits"]),
    ]
    whole = TensorProto.INT64
    cache = (TensorProto.FLOAT, "n", 1, "past", WIDTH)
    later = (TensorProto.FLOAT, "n", 1, "all", WIDTH)
    inputs = [
        _value("input_ids", whole, "n", "t"),
        _value("attention_mask", whole, "n", "all"),
        _value("position_ids", whole, "n", "t"),
        _value("past_key_values.0.key", *cache),
        _value("past_key_values.0.value", *cache),
    ]
    outputs = [
        _value("logits", TensorProto.FLOAT, "n", 1, size),
        _value("present.0.key", *later),
        _value("present.0.value", *later),
    ]
    return _graph(
        nodes,
        inputs,
        outputs,
        added=added,
        scored=scored,
        one=np.array([1]),
        two=np.array([2]),
        place=np.array([1, 3]),
    )
