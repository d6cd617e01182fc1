"""A graph file in ONNX Runtime: opened when it is first run, on the threads of the profile.

Needs the extra `onnx` and no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import BundleFormatError, ConfigError, MissingExtraError

# Which providers of ONNX Runtime compute on a device, the first that is installed before the rest.
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}


class OnnxGraph:
    """One graph. Opening it takes a while and is put off until something is to be computed.

    Args:
        path: the `.onnx` file.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: of one operator, on a CPU.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ConfigError: it has no provider for this device.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int = 1) -> None:
        self.path, self._threads = path, threads
        self._providers = _providers(device)
        self._session: Any = None

    def run(self, output_names: Any, input_feed: Mapping[str, np.ndarray]) -> Sequence[Any]:
        """Return the named outputs (`None`: all), as `onnxruntime.InferenceSession.run` does.

        Raises:
            BundleFormatError: the file is no graph that this ONNX Runtime can run.
        """
        if self._session is None:
            self._session = self._opened()
        return self._session.run(output_names, dict(input_feed))

    def _opened(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Threads that wait for the next operator sleep: several graphs share the processors, and
        # on a busy machine those that spin hold up the one that they wait for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # what is fatal is raised
        try:
            return onnxruntime.InferenceSession(
                str(self.path), options, providers=list(self._providers)
            )
        except Exception as error:  # onnxruntime has a class for each of its many reasons
            raise BundleFormatError(
                f"{self.path}: expected a graph that ONNX Runtime {onnxruntime.__version__} can "
                f"run; {' '.join(str(error).split())[:300]}"
            ) from error


def _providers(device: str) -> list[Any]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "graphs are run by ONNX Runtime, which is not installed; pip install 'dvse[onnx]'"
        ) from error
    kind, _, index = device.partition(":")
    if kind not in _PROVIDERS:
        raise ConfigError(f"expected device cpu, cuda or cuda:N, received {device!r}")
    there = onnxruntime.get_available_providers()
    found = [name for name in _PROVIDERS[kind] if name in there]
    if not found:
        raise ConfigError(
            f"device {device}: this ONNX Runtime computes on {', '.join(there)}; install "
            "onnxruntime-gpu in place of onnxruntime, or use cpu"
        )
    return found if kind == "cpu" else [(name, {"device_id": int(index or 0)}) for name in found]
