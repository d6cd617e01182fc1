"""An image quantizer as JSON and files: its kind, codebook or lattice, and projections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dvse.codebook import Codebook
from dvse.errors import BundleFormatError
from dvse.image.quantizer import CodebookQuantizer, ImageQuantizer, LatticeQuantizer
from dvse.image.tanh_mlp import TanhMlp
from dvse.storage.weights import read_module, write_module

_CODEBOOK_FILE = "codebook.safetensors"
_PROJECTIONS_FILE = "projections.safetensors"


def describe_quantizer(quantizer: ImageQuantizer) -> dict[str, Any]:
    """Return the JSON form, without weights."""
    description: dict[str, Any] = {
        "kind": "lattice" if isinstance(quantizer, LatticeQuantizer) else "codebook",
        "code_dim": quantizer.code_dim,
        "project_in": quantizer.project_in is not None,
        "project_out": quantizer.project_out is not None,
    }
    if isinstance(quantizer, LatticeQuantizer):
        description["levels"] = list(quantizer.levels)
    if isinstance(quantizer.project_in, TanhMlp):
        description["hidden_dim"] = quantizer.project_in.hidden_features
    return description


def save_quantizer(quantizer: ImageQuantizer, folder: Path) -> None:
    """Write the safetensors files of a quantizer."""
    if isinstance(quantizer, CodebookQuantizer):
        quantizer.codebook.save(folder / _CODEBOOK_FILE)
    if _has_projections(quantizer):
        write_module(_projections(quantizer), folder / _PROJECTIONS_FILE)


def load_quantizer(description: Any, dim: int, folder: Path) -> ImageQuantizer:
    """Read what `describe_quantizer` and `save_quantizer` left.

    Args:
        description: the JSON form.
        dim: width of the encoder's features.
        folder: holds the files.

    Raises:
        BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
    """
    fields = {"kind", "code_dim", "project_in", "project_out"}
    kind = description.get("kind") if isinstance(description, Mapping) else None
    expected = fields | ({"levels"} if kind == "lattice" else set())
    if kind not in ("codebook", "lattice") or set(description) - {"hidden_dim"} != expected:
        raise BundleFormatError(
            f"image quantizer: expected kind 'codebook' or 'lattice' and fields {sorted(fields)}, "
            f"received {description!r}"
        )
    code_dim = description["code_dim"]
    if not isinstance(code_dim, int) or code_dim < 1:
        raise BundleFormatError(f"image quantizer: expected a code_dim, received {code_dim!r}")
    project_in = _project_in(description, dim, code_dim) if description["project_in"] else None
    project_out = nn.Linear(code_dim, dim) if description["project_out"] else None
    quantizer: ImageQuantizer
    if kind == "lattice":
        levels = tuple(description["levels"])
        quantizer = LatticeQuantizer(levels=levels, project_in=project_in, project_out=project_out)
    else:
        codebook = Codebook.load(folder / _CODEBOOK_FILE)
        quantizer = CodebookQuantizer(codebook, project_in=project_in, project_out=project_out)
    if quantizer.code_dim != code_dim:
        raise BundleFormatError(
            f"image quantizer: expected codes of {code_dim} channels, received {quantizer.code_dim}"
        )
    if _has_projections(quantizer):
        read_module(_projections(quantizer), folder / _PROJECTIONS_FILE)
    return quantizer


def _project_in(description: Mapping[str, Any], dim: int, code_dim: int) -> nn.Linear | TanhMlp:
    if "hidden_dim" not in description:
        return nn.Linear(dim, code_dim)
    hidden_dim = description["hidden_dim"]
    if not isinstance(hidden_dim, int) or isinstance(hidden_dim, bool) or hidden_dim < 1:
        raise BundleFormatError(f"image quantizer: expected a hidden_dim, received {hidden_dim!r}")
    return TanhMlp(dim, hidden_dim, code_dim)


def _has_projections(quantizer: ImageQuantizer) -> bool:
    return quantizer.project_in is not None or quantizer.project_out is not None


def _projections(quantizer: ImageQuantizer) -> nn.ModuleDict:
    layers = {"project_in": quantizer.project_in, "project_out": quantizer.project_out}
    return nn.ModuleDict({name: layer for name, layer in layers.items() if layer is not None})
