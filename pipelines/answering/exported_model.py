"""A model as `dvse export onnx` leaves it: graphs for ONNX Runtime, run without torch.

config.json, model.onnx      the decoder
dvse.json, image/, audio/ …  the bundle, see `dvse.onnx_tokenizer`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError, BundleIntegrityError, ConfigError
from dvse.onnx_graph import OnnxGraph
from dvse.origin import source_of
from dvse.precision import Precision
from dvse.storage.file_hash import file_sha256
from dvse.tokenizer import load
from model.errors import ModelError
from model.graph.onnx_decoder import OnnxDecoder, OnnxDecoderConfig
from pipelines.answering.model_directory import LoadedModel, check_belong
from pipelines.answering.model_folders import GRAPH, ModelFolders, find_model
from pipelines.answering.weight_format import Quantization


@dataclass(frozen=True, kw_only=True)
class ExportedModel(LoadedModel):
    """A decoder's graph and its tokenizer, ready to answer; a pickle of it is where it lies."""

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.source is not None
        profile = self.tokenizer.profile
        how = {"threads": profile.threads, "batch_tokens": profile.batch_tokens}
        return load_again, (self.source, _sha256(Path(self.source)), self.device, how)


def load_exported(
    folders: ModelFolders,
    *,
    device: str = "cpu",
    dtype: Any = None,
    threads: int | None = None,
    precision: Precision = "float32",
    batch_tokens: int | None = None,
    quantize: Quantization | None = None,
) -> ExportedModel:
    """Load an exported model.

    Args:
        folders: of a model that `folders.is_exported`.
        device, threads: see `dvse.onnx_graph`.
        batch_tokens: as `dvse.load` takes it.
        dtype, precision, quantize: those of the graphs, which cannot be chosen any more.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        BundleError: a file is missing, or the decoder was made for another bundle.
        ConfigError: no such device, another dtype or precision.
    """
    if dtype is not None or quantize is not None:
        raise ConfigError(
            f"{folders.decoder}: the weights of an export stay as they are, received "
            f"{dtype or quantize}; choose it with dvse export onnx --weights"
        )
    tokenizer = load(
        folders.bundle,
        device=device,
        threads=threads,
        precision=precision,
        batch_tokens=batch_tokens,
    )
    try:
        config = OnnxDecoderConfig.read(folders.decoder / "config.json")
    except ModelError as error:
        raise BundleFormatError(str(error)) from error
    check_belong(config, tokenizer.fingerprint, folders)
    graph = OnnxGraph(folders.decoder / GRAPH, device=device, threads=tokenizer.profile.threads)
    return ExportedModel(
        name=folders.name,
        model=OnnxDecoder(graph, config),
        tokenizer=tokenizer,
        device=device,
        source=source_of(folders.decoder),
    )


def load_again(
    source: str, sha256: str, device: str, how: Mapping[str, int | None]
) -> ExportedModel:
    """Load the model that was pickled.

    Raises:
        BundleError: it is not there any more, or another one is.
    """
    if _sha256(Path(source)) != sha256:
        raise BundleIntegrityError(f"{source}: the export there is not the one that was pickled")
    encoders: dict[str, Any] = dict(how)
    return load_exported(find_model(source), device=device, **encoders)


def _sha256(folder: Path) -> str:
    return file_sha256(folder / GRAPH)
