"""Pictures to codes by an exported graph: the neighbour of `ImageTokenizer` without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from dvse.errors import BundleFormatError, ConfigError
from dvse.image.decode_limits import DecodeLimits
from dvse.image.geometry import Geometry, geometry_from_dict, geometry_to_dict
from dvse.image.picture_tokenizer import PictureTokenizer
from dvse.image.preparer import ImagePreparer
from dvse.onnx_graph import OnnxGraph
from dvse.onnx_tokenizer import GRAPH_FILE, KIND, OnnxTokenizer, whole_numbers
from dvse.precision import Precision
from dvse.storage.spec_fields import read_fields, write_fields

_SPEC_FIELDS = {"kind", "geometry", "limits", "num_codes", "num_levels"}


class OnnxImageTokenizer(OnnxTokenizer, PictureTokenizer):
    """Pictures → codes `[rows * columns, num_levels]`.

    Args:
        graph: `pixels` `uint8 [N, H, W, 3]` to `codes`.
        geometry, limits: as `ImageTokenizer` takes them.
        num_codes, num_levels: of the codebook.
    """

    input_name = "pixels"

    def __init__(
        self,
        graph: OnnxGraph,
        *,
        geometry: Geometry,
        limits: DecodeLimits,
        num_codes: int,
        num_levels: int,
    ) -> None:
        super().__init__(graph, num_codes=num_codes, num_levels=num_levels)
        self._preparer = ImagePreparer(geometry=geometry, limits=limits)

    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""
        return onnx_spec(self._preparer, num_codes=self.num_codes, num_levels=self.num_levels)

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
        threads: int = 1,
    ) -> Self:
        """Load what `onnx_spec` described.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field.
            MissingExtraError: ONNX Runtime is not installed.
        """
        if set(spec) != _SPEC_FIELDS:
            raise BundleFormatError(
                f"image: expected fields {sorted(_SPEC_FIELDS)}, received {sorted(spec)}"
            )
        graph = OnnxGraph(folder / GRAPH_FILE, device=device, threads=threads)
        try:
            return cls(
                graph,
                geometry=geometry_from_dict(spec["geometry"]),
                limits=read_fields(DecodeLimits, spec["limits"], where="image limits"),
                **whole_numbers(spec, "num_codes", "num_levels"),
            )
        except ConfigError as error:
            raise BundleFormatError(f"image: {error}") from error


def onnx_spec(preparer: ImagePreparer, *, num_codes: int, num_levels: int) -> dict[str, Any]:
    """Return the JSON description of the section of an exported bundle."""
    return {
        "kind": KIND,
        "geometry": geometry_to_dict(preparer.geometry),
        "limits": write_fields(preparer.limits),
        "num_codes": num_codes,
        "num_levels": num_levels,
    }
