"""A published model as it lies on disk: a file of tensors, or a directory of transformers.

Of a large model in several files only those are read that hold what is wanted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dvse.errors import BundleNotFoundError, WeightsFormatError
from dvse.storage.file_hash import file_sha256
from pipelines.importing.checkpoint import Checkpoint, read_checkpoint

_WHOLE = (
    *("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
    "wav2vec2.ckpt",  # of SpeechBrain
)
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """Tensors and what stands beside them.

    Attributes:
        where: how messages call it.
        checkpoint: its tensors; provenance names file and sha256, or several.
        config, preprocessor: of `config.json` and `preprocessor_config.json`, empty without them.
    """

    where: str
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """By name."""
        return self.checkpoint.tensors


def read_model(
    source: Path, *, wanted: Callable[[str], bool] = lambda name: True
) -> PublishedModel:
    """Read a file of tensors, or a directory with one or with several and their index.

    Args:
        source: where it lies.
        wanted: which tensors of a model in several files are read.

    Raises:
        BundleNotFoundError: nothing there.
        UnsafeFileError: it names something that could run code.
        WeightsFormatError: no weights, damaged, or a file of several is missing.
    """
    if not source.is_dir():
        return PublishedModel(
            where=str(source), checkpoint=read_checkpoint(source), config={}, preprocessor={}
        )
    checkpoint = None
    for name in _WHOLE:
        if (source / name).is_file():
            checkpoint = read_checkpoint(source / name)
            break
    if checkpoint is None and (source / _INDEX).is_file():
        checkpoint = _read_shards(source, wanted)
    if checkpoint is None:
        raise WeightsFormatError(
            f"{source}: expected {_WHOLE[0]}, {_INDEX} or {_WHOLE[1]}; download it again"
        )
    return PublishedModel(
        where=str(source),
        checkpoint=checkpoint,
        config=read_json(source / "config.json"),
        preprocessor=read_json(source / "preprocessor_config.json"),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, empty where there is no file.

    Raises:
        WeightsFormatError: no JSON object in it.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsFormatError(f"{path}: expected JSON; {error}") from error
    if not isinstance(content, dict):
        raise WeightsFormatError(f"{path}: expected a JSON object")
    return content


def _read_shards(folder: Path, wanted: Callable[[str], bool]) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    places = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(places, dict):
        raise WeightsFormatError(f"{folder / _INDEX}: expected a weight_map")
    tensors: dict[str, Tensor] = {}
    hashes = {}
    for file_name in sorted({str(f) for n, f in places.items() if wanted(n)}):
        path = folder / file_name
        if Path(file_name).name != file_name or not path.is_file():
            raise BundleNotFoundError(f"{path}: {_INDEX} names it, and it is not there")
        try:
            with safe_open(path, framework="pt") as file:
                names = [n for n in file.keys() if wanted(n)]  # noqa: SIM118 (no dictionary)
                tensors |= {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise WeightsFormatError(f"{path}: expected a safetensors file; {error}") from error
        hashes[file_name] = file_sha256(path)
    return Checkpoint(
        tensors=tensors, settings={}, provenance={"file": folder.name, "sha256": hashes}
    )
