"""Which way of running an encoder is fastest: torch as it is, compiled, or another runtime.

The encoders are ViT-S, ViT-B and Wav2Vec2-base with random weights, nearest-code search included,
at shapes that jobs have: a full batch of pictures of 224 pixels, ten seconds of sound. `ours` is
torch as DVSE runs it; the peers are the same modules through `torch.compile` (default mode, fixed
shapes), and the graph that `dvse export onnx` writes in ONNX Runtime (with its threads spinning)
and in OpenVINO. A ratio above 1 means that torch as it is is the fastest. The share of codes that
stay stands in the note: every other way is another numerics profile.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_precision import _RATE_HZ, _bundle
from real_bundle import speech_like
from timing import Row, alternate

import dvse
from dvse.numerics import use_threads
from dvse.onnx_tokenizer import GRAPH_FILE
from pipelines.runtimes.onnx_export import export_onnx

_NUM_THREADS = 2
_SECONDS = 10.0
_PAIRS = 5

Run = Callable[[], np.ndarray]


def rows() -> Iterator[Row]:
    """Yield three rows an encoder."""
    for case in CASES.values():
        yield from case()


def _pictures(vit: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name, use_threads(_NUM_THREADS), torch.inference_mode():
        bundle, graphs = _exported(Path(name), vit)
        image = dvse.load(bundle, threads=_NUM_THREADS).image
        rows = image.batch_rows((224, 224, 3))
        pixels = torch.randint(0, 256, (rows, 224, 224, 3), dtype=torch.uint8)
        ways = _ways(
            image.encoder, image.quantizer.encode, pixels, graphs / "image" / GRAPH_FILE, "pixels"
        )
        yield from _compared(f"encoders.{vit}", ways, rows, "pictures/s")


def _speech() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name, use_threads(_NUM_THREADS), torch.inference_mode():
        bundle, graphs = _exported(Path(name), "vit_tiny")
        audio = dvse.load(bundle, threads=_NUM_THREADS).audio
        samples = torch.from_numpy(speech_like(_SECONDS, seed=0).astype(np.float32))[None]
        assert samples.shape == (1, round(_SECONDS * _RATE_HZ))
        path = graphs / "audio" / GRAPH_FILE
        ways = _ways(audio.encoder, audio.codebook.encode, samples, path, "samples")
        yield from _compared("encoders.wav2vec2_base", ways, _SECONDS, "s of speech/s")


def _exported(folder: Path, vit: str) -> tuple[str, Path]:
    torch.manual_seed(0)
    bundle = _bundle(folder / "bundle", vit=vit)
    return bundle, export_onnx(bundle, folder / "graphs").folder


def _ways(
    encoder: torch.nn.Module,
    search: Callable[[torch.Tensor], torch.Tensor],
    batch: torch.Tensor,
    graph: Path,
    input_name: str,
) -> dict[str, Run]:
    """How each runs, by name: codes `[N]` of the batch."""

    def by(forward: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        features = forward(batch)
        return search(features.reshape(-1, features.shape[-1])).numpy().reshape(-1)

    compiled = torch.compile(encoder, dynamic=False)
    return {
        "torch": lambda: by(encoder),
        "torch.compile": lambda: by(compiled),
        "ONNX Runtime": _onnx_runtime(graph, {input_name: batch.numpy()}),
        "OpenVINO": _openvino(graph, batch.numpy()),
    }


def _onnx_runtime(path: Path, feed: dict[str, np.ndarray]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _NUM_THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, feed)[0]).reshape(-1)


def _openvino(path: Path, batch: np.ndarray) -> Run:
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": _NUM_THREADS,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda: np.asarray(model(batch)[0]).reshape(-1)


def _compared(name: str, ways: dict[str, Run], amount: float, unit: str) -> Iterator[Row]:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.mkdtemp())
    ours = ways.pop("torch")
    expected = ours()
    for peer, run in ways.items():
        kept = float((run() == expected).mean())
        pairs = alternate(ours, run, pairs=_PAIRS)
        yield Row(
            name=f"{name}.{peer.lower().replace(' ', '_')}",
            ours=amount / pairs.ours,
            peer=amount / pairs.peer,
            ratio=pairs.speedup,
            unit=unit,
            note=f"peer: {peer}, {_NUM_THREADS} threads; {100 * kept:.1f} % of codes the same",
        )


CASES = {
    "vit_small": lambda: _pictures("vit_small"),
    "vit_base": lambda: _pictures("vit_base"),
    "wav2vec2_base": _speech,
}
