"""The image tokenizer: encoder, quantizer, pixel decoder and geometry, put together.

Every forward pass has one shape: chunks are grouped by size, and a group runs in batches of a
number of rows that depends on the size and the kind of device alone; the last batch is filled up.
So a picture's codes do not depend on its neighbours (fp32 kernels choose their order of sums
by shape).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, ConfigError, IdRangeError
from dvse.image.decoding import DecodeLimits
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.geometry import Geometry, geometry_from_dict, geometry_to_dict
from dvse.image.hub_weights import HubWeights
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder
from dvse.image.preparer import ImagePreparer
from dvse.image.quantizer import CodebookQuantizer, ImageQuantizer, LatticeQuantizer
from dvse.media_tokenizer import MediaTokenizer
from dvse.numerics import exact_convolutions
from dvse.storage.spec_fields import read_fields, write_fields
from dvse.storage.weights import read_module, write_module

# Tokens in one batch. Measured on one AVX2 core: `tiny` takes 3.4 ms for a 32x32 picture in batches
# of 4 rows, 2.2 of 16, 2.1 of 64; ViT-S at 224x224 150 ms in rows of one, 130 of 4 and more.
# Larger batches would only make a single picture pay for more rows.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}

_ENCODER_FILE = "encoder.safetensors"
_CODEBOOK_FILE = "codebook.safetensors"
_PROJECTIONS_FILE = "projections.safetensors"
_DECODER_FILE = "decoder.safetensors"
_SPEC_FIELDS = {"geometry", "limits", "encoder", "weights", "quantizer", "decoder"}


class ImageTokenizer(MediaTokenizer):
    """Pictures ↔ codes `[rows * columns, num_levels]`.

    Args:
        encoder, quantizer: features of a patch, and codes of features.
        decoder: pixels of quantized features; `None` where there is no way back.
        geometry: the size pictures are brought to; its patches are the encoder's.
        hub_weights: where the encoder's weights come from, if they are not saved with it.

    Raises:
        ConfigError: patch sizes or widths that do not fit together.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        quantizer: ImageQuantizer,
        geometry: Geometry,
        decoder: PixelDecoder | None = None,
        limits: DecodeLimits | None = None,
        hub_weights: HubWeights | None = None,
        device: str = "cpu",
    ) -> None:
        _check_fit(encoder, quantizer, decoder, geometry)
        self.device = torch.device(device)
        # Pixels come as [H, W, 3]: convolutions that want channels last need no copy.
        encoder = encoder.to(memory_format=torch.channels_last)
        self.encoder = encoder.eval().requires_grad_(False).to(self.device)
        self.quantizer = quantizer.eval().requires_grad_(False).to(self.device)
        self.decoder = None
        if decoder is not None:
            decoder = decoder.to(memory_format=torch.channels_last)
            self.decoder = decoder.eval().requires_grad_(False).to(self.device)
        self.hub_weights = hub_weights
        self.num_codes = quantizer.num_codes
        self.num_levels = quantizer.num_levels
        self._preparer = ImagePreparer(geometry=geometry, limits=limits or DecodeLimits())

    @property
    def preparer(self) -> ImagePreparer:
        """The half that decode workers run."""
        return self._preparer

    @property
    def geometry(self) -> Geometry:
        """The size that pictures are brought to; `fixed_grid` is `None` where it varies."""
        return self._preparer.geometry

    @property
    def fixed_grid(self) -> tuple[int, int] | None:
        """Rows and columns of every picture, `None` where they depend on the picture."""
        return self.geometry.fixed_grid

    @property
    def max_positions(self) -> int:
        """The most codes (places of the grid) that a picture can have."""
        return self.geometry.max_positions

    def batch_rows(self, shape: tuple[int, ...]) -> int:
        """Return the rows of every forward pass over pictures of `shape` (H, W, 3)."""
        patch = self.geometry.patch_size
        tokens = (shape[0] // patch) * (shape[1] // patch)
        kind = "cpu" if self.device.type == "cpu" else "cuda"
        return max(1, _BATCH_TOKENS[kind] // tokens)

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return codes `int32 [rows * columns, num_levels]` of each chunk, in order."""

        def codes(pixels: Tensor) -> Tensor:
            features = self.encoder(pixels)
            flat = self.quantizer.encode(features.reshape(-1, features.shape[-1]))
            return flat.reshape(len(pixels), -1, self.num_levels).int()

        return self._map_batches(chunks, codes)

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return features `fp32 [rows * columns, dim]` of each chunk, before they are quantized."""
        return self._map_batches(chunks, lambda pixels: self.encoder(pixels).flatten(1, 2))

    def decode(self, codes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """Return pixels `uint8 [H, W, 3]` of the codes of one picture.

        Args:
            codes: `[rows * columns]` or `[rows * columns, num_levels]`.
            grid: rows and columns.

        Raises:
            ConfigError: this tokenizer has no pixel decoder.
            IdRangeError: a code outside the codebook, or a number of them that is not the grid's.
        """
        if self.decoder is None:
            raise ConfigError("this tokenizer has no pixel decoder; train one with its codebook")
        rows, columns = grid
        array = np.asarray(codes)
        if array.size != rows * columns * self.num_levels or not array.size:
            raise IdRangeError(
                f"expected {rows}x{columns} codes of {self.num_levels} levels, received an array "
                f"of {list(array.shape)}"
            )
        with torch.inference_mode(), exact_convolutions():
            flat = torch.from_numpy(array.astype(np.int64).reshape(-1, self.num_levels))
            features = self.quantizer.decode(flat.to(self.device))
            pixels = self.decoder(features.reshape(1, rows, columns, -1))
            return self.encoder.denormalize(pixels)[0].cpu().numpy()

    def _map_batches(
        self, chunks: Sequence[Chunk], function: Callable[[Tensor], Tensor]
    ) -> list[np.ndarray]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, chunk in enumerate(chunks):
            groups.setdefault(chunk.shape, []).append(position)
        results: list[np.ndarray | None] = [None] * len(chunks)
        with torch.inference_mode(), exact_convolutions():
            for shape, positions in groups.items():
                rows = self.batch_rows(shape)
                for start in range(0, len(positions), rows):
                    batch = positions[start : start + rows]
                    pixels = np.zeros((rows, *shape), np.uint8)
                    for row, position in enumerate(batch):
                        pixels[row] = chunks[position].data
                    values = function(torch.from_numpy(pixels).to(self.device)).cpu().numpy()
                    for row, position in enumerate(batch):
                        kept = slice(*(chunks[position].keep or (None, None)))
                        results[position] = values[row, kept].copy()
        return [result for result in results if result is not None]

    def spec(self) -> dict[str, Any]:
        """Return the JSON description."""
        quantizer: dict[str, Any] = {
            "kind": "lattice" if isinstance(self.quantizer, LatticeQuantizer) else "codebook",
            "code_dim": self.quantizer.code_dim,
            "project_in": self.quantizer.project_in is not None,
            "project_out": self.quantizer.project_out is not None,
        }
        if isinstance(self.quantizer, LatticeQuantizer):
            quantizer["levels"] = list(self.quantizer.levels)
        return {
            "geometry": geometry_to_dict(self.geometry),
            "limits": write_fields(self._preparer.limits),
            "encoder": write_fields(self.encoder.config),
            "weights": None if self.hub_weights is None else write_fields(self.hub_weights),
            "quantizer": quantizer,
            "decoder": None if self.decoder is None else write_fields(self.decoder.config),
        }

    def save_files(self, folder: Path) -> None:
        """Write the safetensors files that `from_spec` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.hub_weights is None:
            write_module(self.encoder, folder / _ENCODER_FILE)
        if isinstance(self.quantizer, CodebookQuantizer):
            self.quantizer.codebook.save(folder / _CODEBOOK_FILE)
        if _has_projections(self.quantizer):
            write_module(_projections(self.quantizer), folder / _PROJECTIONS_FILE)
        if self.decoder is not None:
            write_module(self.decoder, folder / _DECODER_FILE)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], folder: Path, *, device: str = "cpu") -> Self:
        """Load what `spec` and `save_files` left.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
        """
        if not isinstance(spec, Mapping) or set(spec) != _SPEC_FIELDS:
            found = sorted(spec) if isinstance(spec, Mapping) else type(spec).__name__
            raise BundleFormatError(
                f"image: expected fields {sorted(_SPEC_FIELDS)}, received {found}"
            )
        config = read_fields(EncoderConfig, spec["encoder"], where="image encoder")
        hub_weights = None
        if spec["weights"] is not None:
            hub_weights = read_fields(HubWeights, spec["weights"], where="image weights")
        try:
            if hub_weights is None:
                encoder = ImageEncoder(config)
                read_module(encoder, folder / _ENCODER_FILE)
            else:
                encoder = ImageEncoder(config, pretrained=hub_weights.fetch())
            decoder = None
            if spec["decoder"] is not None:
                decoder = PixelDecoder(
                    read_fields(DecoderConfig, spec["decoder"], where="image decoder")
                )
                read_module(decoder, folder / _DECODER_FILE)
            return cls(
                encoder=encoder,
                quantizer=_load_quantizer(spec["quantizer"], encoder.dim, folder),
                decoder=decoder,
                geometry=geometry_from_dict(spec["geometry"]),
                limits=read_fields(DecodeLimits, spec["limits"], where="image limits"),
                hub_weights=hub_weights,
                device=device,
            )
        except ConfigError as error:
            raise BundleFormatError(f"image: {error}") from error


def _check_fit(
    encoder: ImageEncoder,
    quantizer: ImageQuantizer,
    decoder: PixelDecoder | None,
    geometry: Geometry,
) -> None:
    if geometry.patch_size != encoder.patch_size:
        raise ConfigError(
            f"expected patches of {encoder.patch_size} pixels, the encoder's; the geometry has "
            f"{geometry.patch_size}"
        )
    width = quantizer.code_dim if quantizer.project_in is None else quantizer.project_in.in_features
    if width != encoder.dim:
        raise ConfigError(f"the encoder gives {encoder.dim} channels, the quantizer takes {width}")
    if decoder is None:
        return
    if decoder.patch_size != encoder.patch_size:
        raise ConfigError(
            f"the decoder makes patches of {decoder.patch_size} pixels, not {encoder.patch_size}"
        )
    last = quantizer.project_out
    width = quantizer.code_dim if last is None else last.out_features
    if width != decoder.config.dim:
        raise ConfigError(
            f"the quantizer gives {width} channels, the decoder takes {decoder.config.dim}"
        )


def _load_quantizer(description: Any, dim: int, folder: Path) -> ImageQuantizer:
    fields = {"kind", "code_dim", "project_in", "project_out"}
    kind = description.get("kind") if isinstance(description, Mapping) else None
    expected = fields | ({"levels"} if kind == "lattice" else set())
    if kind not in ("codebook", "lattice") or set(description) != expected:
        raise BundleFormatError(
            f"image quantizer: expected kind 'codebook' or 'lattice' and fields {sorted(fields)}, "
            f"received {description!r}"
        )
    code_dim = description["code_dim"]
    if not isinstance(code_dim, int) or code_dim < 1:
        raise BundleFormatError(f"image quantizer: expected a code_dim, received {code_dim!r}")
    project_in = nn.Linear(dim, code_dim) if description["project_in"] else None
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


def _has_projections(quantizer: ImageQuantizer) -> bool:
    return quantizer.project_in is not None or quantizer.project_out is not None


def _projections(quantizer: ImageQuantizer) -> nn.ModuleDict:
    layers = {"project_in": quantizer.project_in, "project_out": quantizer.project_out}
    return nn.ModuleDict({name: layer for name, layer in layers.items() if layer is not None})
