"""From a module of torch to an ONNX model: plain operators, named inputs, free sizes."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dvse.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Of the standard operators; ONNX Runtime knows them from 1.17 on, TensorRT from 10.5 on."""
_MOST_BYTES = 1 << 30  # of a file in one piece: protocol buffers end at 2 GiB


class Traceable(Protocol):
    """A module that says how it is traced: `PictureCodes`, `RecordingCodes`, `DecoderStep`."""

    @property
    def input_names(self) -> Sequence[str]:
        """Names of the graph's inputs."""

    @property
    def output_names(self) -> Sequence[str]:
        """Names of the graph's outputs."""

    def sample(self) -> tuple[Any, ...]:
        """Return inputs to trace with."""

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return which sizes of them are free."""


def check_extra() -> None:
    """Raise unless what writes graphs is installed.

    Raises:
        MissingExtraError: the extra `onnx` is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"graphs are written with onnx, onnxscript and onnxruntime, and {error.name} is not "
            "installed; pip install 'dvse[onnx]'"
        ) from error


def traced(module: Any) -> "onnx.ModelProto":
    """Return the ONNX model of a `Traceable` module, weights in it.

    Raises:
        ConfigError: torch or the exporter finds something in it that has no graph.
    """
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                module.sample(),
                dynamo=True,
                dynamic_shapes=module.dynamic_shapes(),
                input_names=list(module.input_names),
                output_names=list(module.output_names),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ConfigError(
            f"{type(module).__name__}: cannot be written as a graph; "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto


def scope_of(node: Any) -> str:
    """Return the module that a node of a traced model came from, `''` where it is not said."""
    scopes = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
    names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
    return names[-2] if len(names) > 1 else ""


def write(model: "onnx.ModelProto", path: Path) -> None:
    """Write a model; weights of over a GiB go into a file beside it.

    Notes of where a node came from name this machine's folders: they are left out, and the same
    model gives the same bytes everywhere.
    """
    import onnx

    for held in (model, model.graph, *model.functions):
        del held.metadata_props[:]
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_large = sum(len(tensor.raw_data) for tensor in graph.initializer) > _MOST_BYTES
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=is_large,
        location=f"{path.name}.data" if is_large else None,
    )
