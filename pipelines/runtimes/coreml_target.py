"""Core ML packages by coremltools; written and read anywhere, run on a Mac or a phone alone."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import ConfigError, MissingExtraError
from pipelines.runtimes.device_export import DeviceTarget, megabytes
from pipelines.runtimes.device_settings import DeviceSettings


class CoremlTarget(DeviceTarget):
    """`.mlpackage` folders for iOS 18 and macOS 15 on; the decoder's cache is a state of Core ML's.

    Pictures are squares of the largest size, as fp32 0 … 255, and recordings one full window: Core
    ML has neither uint8 arrays nor sizes in steps of a patch.
    """

    name = "Core ML"
    suffix = ".mlpackage"
    libraries = ("coremltools",)

    def check_extra(self) -> None:
        """Raise unless coremltools is installed."""
        try:
            import coremltools  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "packages are written by coremltools, which is not installed; pip install "
                "'dvse[coreml]'"
            ) from error

    def write_half(self, module: Any, inputs: list[np.ndarray], shapes: Any, path: Path) -> str:
        """Write a half of the tokenizer."""
        import torch

        given = torch.from_numpy(max(inputs, key=lambda one: one.size)).float()
        _convert(module, (given,), None, path)
        return f"{megabytes(path)}, of {'x'.join(map(str, given.shape[1:]))}; reads back, not run"

    def write_decoder(self, decoder: Any, settings: DeviceSettings, path: Path) -> str:
        """Write the decoder."""
        from model.graph.device_step import DeviceStep, select_rows

        step = DeviceStep(
            decoder, context=settings.context, longest=settings.longest, write=select_rows
        )
        _convert(step, step.sample(), step.dynamic_shapes(), path)
        return f"{megabytes(path)}; reads back, not run"


def _convert(module: Any, sample: Any, shapes: Any, path: Path) -> None:
    import coremltools
    import torch

    _lower_alias()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), sample, dynamic_shapes=shapes)
        try:
            package = coremltools.convert(
                program.run_decompositions({}),
                minimum_deployment_target=coremltools.target.iOS18,
                compute_precision=coremltools.precision.FLOAT32,
                outputs=[coremltools.TensorType(name=name) for name in module.output_names],
                skip_model_load=True,
            )
        except (NotImplementedError, ValueError) as error:
            raise ConfigError(
                f"{path.stem}: coremltools cannot express it; {' '.join(str(error).split())[:200]}"
            ) from error
    package.save(str(path))
    coremltools.models.MLModel(str(path), skip_model_load=True)  # what is written can be read


def _lower_alias() -> None:
    """Teach coremltools the operator by which torch's graphs hand a tensor on; 9.0 lacks it."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    @register_torch_op(torch_alias=["alias_copy"], override=True)
    def alias(context: Any, node: Any) -> None:
        (x,) = _get_inputs(context, node, expected=1)
        context.add(Builder.identity(x=x, name=node.name))
