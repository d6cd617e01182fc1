"""ExecuTorch programs with XNNPACK's kernels, run by its Python runtime before they are kept."""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleIntegrityError, MissingExtraError
from pipelines.runtimes.device_export import DeviceTarget, megabytes
from pipelines.runtimes.device_settings import INT4_GROUP, DeviceSettings

_LARGEST_ERROR = 1e-4  # of a logit, over the largest logit, in fp32
_FEWEST_SAME = 0.99
_WHOLE = ("lm_head", "gate")
_NUM_TOKENS = 16


class ExecutorchTarget(DeviceTarget):
    """`.pte` files for Android, iOS and small boards."""

    name = "ExecuTorch"
    suffix = ".pte"
    libraries = ("executorch", "torchao")
    weights = ("float32", "int4")

    def check_extra(self) -> None:
        """Raise unless ExecuTorch is installed."""
        try:
            import executorch  # noqa: F401
            import torchao  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                f"programs are lowered by ExecuTorch, and {error.name} is not installed; pip "
                "install 'dvse[executorch]'"
            ) from error

    def write_half(self, module: Any, inputs: list[np.ndarray], shapes: Any, path: Path) -> str:
        """Write a half of the tokenizer, and compare its codes."""
        import torch

        _lower(module, (torch.from_numpy(inputs[0]),), shapes, path)
        program = Program(path)
        num_codes = num_same = 0
        with torch.no_grad():
            for one in map(torch.from_numpy, inputs):
                found, wanted = program(one), module(one)
                num_codes += wanted.numel()
                num_same += int((found == wanted).sum()) if found.shape == wanted.shape else 0
        share = num_same / num_codes
        if share < _FEWEST_SAME:
            raise BundleIntegrityError(
                f"{path.stem}: only {share:.1%} of codes of noise are those of torch; nothing was "
                "written"
            )
        return f"{megabytes(path)}, {share:.2%} of codes of noise as in torch"

    def write_decoder(self, decoder: Any, settings: DeviceSettings, path: Path) -> str:
        """Write the decoder, and compare what it says behind a prompt."""
        from model.graph.device_step import DeviceStep

        step = DeviceStep(decoder, context=settings.context, longest=settings.longest)
        wanted = _spoken(step, [])
        if settings.weights == "int4":
            _quantize(step)
        _lower(step, step.sample(), step.dynamic_shapes(), path)
        program = Program(path)
        began = time.perf_counter()
        found = _spoken(program, [token for token, _ in wanted])
        seconds = time.perf_counter() - began
        largest = max(float(abs(logits).max()) for _, logits in wanted)
        pairs = list(zip(found, wanted, strict=True))
        error = max(float(abs(ours[1] - theirs[1]).max()) for ours, theirs in pairs) / largest
        if settings.weights == "float32" and error > _LARGEST_ERROR:
            raise BundleIntegrityError(
                f"decoder: logits differ by {error:.1e} of the largest; nothing was written"
            )
        num_same = sum(ours[0] == theirs[0] for ours, theirs in pairs)
        return (
            f"{megabytes(path)}, logits within {error:.1e} of the largest, {num_same} of "
            f"{_NUM_TOKENS} likeliest tokens as in torch, {_NUM_TOKENS / seconds:.0f} tokens/s "
            "where it was exported"
        )


class Program:
    """A program in ExecuTorch's Python runtime, called as the module that it was."""

    def __init__(self, path: Path) -> None:
        from executorch.runtime import Runtime

        self._program = Runtime.get().load_program(str(path))
        self._method = self._program.load_method("forward")

    def __call__(self, *inputs: Any) -> Any:
        """Return the first output."""
        return self._method.execute(list(inputs))[0]


def _spoken(step: Any, said: list[int]) -> list[tuple[int, Any]]:
    """Return the likeliest token and the logits behind a prompt and behind each token after it.

    Args:
        step: ids and positions to logits.
        said: what to go on with; by default the likeliest.
    """
    import torch

    found: list[tuple[int, Any]] = []
    given, position = torch.arange(5)[None], 0
    with torch.no_grad():
        for number in range(_NUM_TOKENS):
            logits = step(given, torch.arange(position, position + given.shape[1]))
            found.append((int(logits.argmax()), logits.clone()))
            position += given.shape[1]
            given = torch.tensor([[said[number] if said else found[-1][0]]])
    return found


def _quantize(step: Any) -> None:
    """Round the products' weights to 4 bits, in place; activations are rounded as they come."""
    import torch
    from torchao.quantization import (
        Int8DynamicActivationIntxWeightConfig,
        PerGroup,
        quantize_,
    )

    int4: Any = vars(torch)["int4"]  # not in torch's annotations yet
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=int4, weight_granularity=PerGroup(INT4_GROUP)
    )

    def is_product(module: Any, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and not name.endswith(_WHOLE)

    quantize_(step, config, is_product)


def _lower(module: Any, sample: Any, shapes: Any, path: Path) -> None:
    """Trace a module and write it as a program whose products are XNNPACK's."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), sample, dynamic_shapes=shapes)
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        # A cache of zeros: what is not written yet is multiplied by 0 and must be a number.
        keep = InitializedMutableBufferPass(["keys_", "values_"])
        lowered = edge.to_executorch(ExecutorchBackendConfig(passes=[keep]))
    path.write_bytes(lowered.buffer)
