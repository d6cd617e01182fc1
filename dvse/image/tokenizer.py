"""The image tokenizer: encoder, quantizer, pixel decoder and geometry, put together.

Every forward pass has one shape: chunks are grouped by size, and a group runs in batches of a
number of rows that depends on the size and the kind of device alone, or on a chosen token budget;
the last batch is filled up, or has fewer rows where these were seen to have the same bits (see
`dvse.short_batches`). So a picture's codes do not depend on its neighbours (fp32 kernels choose
their order of sums by shape).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dvse.chunk import Chunk
from dvse.errors import BundleFormatError, ConfigError, IdRangeError
from dvse.fixed_batches import Shape, fixed_batches
from dvse.image.decode_limits import DecodeLimits
from dvse.image.encoder import ImageEncoder
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.encoder_files import (
    PictureDecoder,
    describe_decoder,
    describe_encoder,
    make_decoder,
    make_encoder,
    timm_config,
)
from dvse.image.geometry import Geometry, geometry_from_dict, geometry_to_dict
from dvse.image.hub_weights import HubWeights
from dvse.image.picture_tokenizer import PictureTokenizer
from dvse.image.preparer import ImagePreparer
from dvse.image.quantizer import CodebookQuantizer, ImageQuantizer
from dvse.image.quantizer_files import describe_quantizer, load_quantizer, save_quantizer
from dvse.in_flight import in_flight
from dvse.media_tokenizer import NO_CODEBOOK
from dvse.numerics import exact_convolutions
from dvse.precision import Precision, cast_weights, refuse_cast_weights, refuse_overflow
from dvse.short_batches import ShortBatches, filled
from dvse.storage.spec_fields import read_fields, write_fields
from dvse.storage.weights import read_module, write_module

# Tokens in one batch. Measured on one AVX2 core: `tiny` takes 3.4 ms for a 32x32 picture in batches
# of 4 rows, 2.2 of 16, 2.1 of 64; ViT-S at 224x224 150 ms in rows of one, 130 of 4 and more.
# Larger batches would only make a single picture pay for more rows.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}

_ENCODER_FILE = "encoder.safetensors"
_DECODER_FILE = "decoder.safetensors"
_SPEC_FIELDS = {"geometry", "limits", "encoder", "weights", "quantizer", "decoder"}


class ImageTokenizer(PictureTokenizer):
    """Pictures ↔ codes `[rows * columns, num_levels]`.

    Args:
        encoder, quantizer: features of a patch, and codes of features; a draft has no quantizer.
        decoder: pixels of quantized features; `None` where there is no way back.
        geometry: the size pictures are brought to; its patches are the encoder's.
        hub_weights: where the encoder's weights come from, if they are not saved with it.
        device: where it computes.
        precision: what the encoder computes in; its weights are cast in place. Quantizer and
            decoder stay fp32.

    Raises:
        ConfigError: patch sizes or widths that do not fit together.
    """

    def __init__(
        self,
        *,
        encoder: PictureEncoder,
        quantizer: ImageQuantizer | None,
        geometry: Geometry,
        decoder: PictureDecoder | None = None,
        limits: DecodeLimits | None = None,
        hub_weights: HubWeights | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        _check_fit(encoder, quantizer, decoder, geometry)
        self.device = torch.device(device)
        # Pixels come as [H, W, 3]: convolutions that want channels last need no copy.
        encoder = encoder.to(memory_format=encoder.memory_format)
        self.precision: Precision = precision
        self.encoder: PictureEncoder = encoder.eval().requires_grad_(False).to(self.device)
        cast_weights(self.encoder, precision)
        self._short_batches = ShortBatches(self.encoder, self._random_pixels)
        self.quantizer = quantizer
        self.num_codes = self.num_levels = 0
        if quantizer is not None:
            self.quantizer = quantizer.eval().requires_grad_(False).to(self.device)
            self.num_codes, self.num_levels = quantizer.num_codes, quantizer.num_levels
        if isinstance(quantizer, CodebookQuantizer):
            self.codebook = quantizer.codebook
        self.decoder: PictureDecoder | None = None
        if decoder is not None:
            decoder = decoder.to(memory_format=decoder.memory_format)
            self.decoder = decoder.eval().requires_grad_(False).to(self.device)
        self.hub_weights = hub_weights
        self._preparer = ImagePreparer(geometry=geometry, limits=limits or DecodeLimits())

    @property
    def default_batch_tokens(self) -> int:
        """The most tokens of a forward pass where nobody chose `batch_tokens`."""
        return _BATCH_TOKENS["cpu" if self.device.type == "cpu" else "cuda"]

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return features `fp32 [rows * columns, dim]` of each chunk, before they are quantized."""
        return self._map_batches(chunks, lambda features, rows: features[:rows].flatten(1, 2))

    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return codes `int32 [rows * columns, num_levels]` of `fp32 [rows * columns, dim]` each.

        Products have the shape that they have in `encode`, so that they have its bits.

        Raises:
            ConfigError: a draft.
        """
        results: list[np.ndarray] = [np.zeros(0, np.int32)] * len(features)
        shapes = (one.shape for one in features)
        with torch.inference_mode():
            for shape, positions in fixed_batches(shapes, lambda shape: self._rows(shape[0])):
                block = torch.zeros(shape)
                for row, position in enumerate(positions):
                    block[row] = torch.from_numpy(features[position])
                codes = self._codes(block.to(self.device), len(block)).cpu().numpy()
                for row, position in enumerate(positions):
                    results[position] = codes[row].copy()
        return results

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return codes `int32 [rows * columns, num_levels]` of each chunk, in order.

        Raises:
            ConfigError: a draft.
        """
        # Features stay on the device.
        return self._map_batches(chunks, self._codes)

    def decode(self, codes: np.ndarray, grid: tuple[int, int] | None = None) -> np.ndarray:
        """Return pixels `uint8 [H, W, 3]` of the codes of one picture.

        Args:
            codes: `[rows * columns]` or `[rows * columns, num_levels]`.
            grid: rows and columns; not needed where all pictures have the same.

        Raises:
            ConfigError: this tokenizer has no pixel decoder, or the grid is not known.
            IdRangeError: a code outside the codebook, or a number of them that is not the grid's.
        """
        if self.decoder is None:
            raise ConfigError("this tokenizer has no pixel decoder; train one with its codebook")
        grid = grid or self.fixed_grid
        if grid is None:
            raise ConfigError("the grid of this tokenizer varies; say which one these codes have")
        rows, columns = grid
        array = np.asarray(codes)
        if array.size != rows * columns * self.num_levels or not array.size:
            raise IdRangeError(
                f"expected {rows}x{columns} codes of {self.num_levels} levels, received an array "
                f"of {list(array.shape)}"
            )
        with torch.inference_mode(), exact_convolutions(self.precision):
            flat = torch.from_numpy(array.astype(np.int64).reshape(-1, self.num_levels))
            features = self._quantizer().decode(flat.to(self.device))
            pixels = self.decoder(features.reshape(1, rows, columns, -1))
            return self.encoder.denormalize(pixels)[0].cpu().numpy()

    def _codes(self, features: Tensor, num_rows: int) -> Tensor:
        """Codes `int32 [num_rows, positions, num_levels]` of the first of `[N, ..., dim]`."""
        flat = features.reshape(-1, features.shape[-1])
        codes = self._quantizer().encode(flat, len(flat) // len(features) * num_rows)
        return codes.reshape(num_rows, -1, self.num_levels).int()

    def _quantizer(self) -> ImageQuantizer:
        if self.quantizer is None:
            raise ConfigError(NO_CODEBOOK)
        return self.quantizer

    def _map_batches(
        self, chunks: Sequence[Chunk], function: Callable[[Tensor, int], Tensor]
    ) -> list[np.ndarray]:
        def compute(pixels: Tensor) -> tuple[Tensor, Tensor]:
            features = self.encoder(pixels)
            is_finite = features.isfinite().flatten(1).all(1)
            full = filled(features, self.batch_rows(tuple(pixels.shape[1:])))
            return function(full, len(features)), is_finite

        results: list[np.ndarray | None] = [None] * len(chunks)
        with torch.inference_mode(), exact_convolutions(self.precision):
            for batch, (found, is_finite) in in_flight(self._batches(chunks), compute, self.device):
                refuse_overflow(is_finite[: len(batch)], self.precision)
                values = found.numpy()
                for row, position in enumerate(batch):
                    kept = slice(*(chunks[position].keep or (None, None)))
                    results[position] = values[row, kept].copy()
        return [result for result in results if result is not None]

    def _batches(self, chunks: Sequence[Chunk]) -> Iterator[tuple[list[int], Tensor]]:
        for shape, positions in fixed_batches((c.shape for c in chunks), self.batch_rows):
            under = self.precision, torch.get_num_threads()
            rows = self._short_batches.rows(shape, len(positions), under=under)
            pixels = np.zeros((rows, *shape[1:]), np.uint8)
            for row, position in enumerate(positions):
                pixels[row] = chunks[position].data
            yield positions, torch.from_numpy(pixels)

    def _random_pixels(self, shape: Shape) -> Tensor:
        generator = torch.Generator().manual_seed(0)  # the caller's random numbers stay his
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return pixels.to(self.device)

    def spec(self) -> dict[str, Any]:
        """Return the JSON description.

        Raises:
            ConfigError: a draft.
        """
        return {
            "geometry": geometry_to_dict(self.geometry),
            "limits": write_fields(self._preparer.limits),
            "encoder": describe_encoder(self.encoder),
            "weights": None if self.hub_weights is None else write_fields(self.hub_weights),
            "quantizer": describe_quantizer(self._quantizer()),
            "decoder": None if self.decoder is None else describe_decoder(self.decoder),
        }

    def save_files(self, folder: Path) -> None:
        """Write the safetensors files that `from_spec` reads.

        Raises:
            ConfigError: a draft, or weights that were cast.
        """
        quantizer = self._quantizer()
        refuse_cast_weights(self.precision)
        folder.mkdir(parents=True, exist_ok=True)
        if self.hub_weights is None:
            write_module(self.encoder, folder / _ENCODER_FILE)
        save_quantizer(quantizer, folder)
        if self.decoder is not None:
            write_module(self.decoder, folder / _DECODER_FILE)

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load what `spec` and `save_files` left.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field, or files that do not fit.
        """
        if not isinstance(spec, Mapping) or set(spec) != _SPEC_FIELDS:
            found = sorted(spec) if isinstance(spec, Mapping) else type(spec).__name__
            raise BundleFormatError(
                f"image: expected fields {sorted(_SPEC_FIELDS)}, received {found}"
            )
        hub_weights = None
        if spec["weights"] is not None:
            hub_weights = read_fields(HubWeights, spec["weights"], where="image weights")
        try:
            encoder = _loaded_encoder(spec["encoder"], hub_weights, folder)
            decoder = None
            if spec["decoder"] is not None:
                decoder = make_decoder(spec["decoder"])
                read_module(decoder, folder / _DECODER_FILE)
            return cls(
                encoder=encoder,
                quantizer=load_quantizer(spec["quantizer"], encoder.dim, folder),
                decoder=decoder,
                geometry=geometry_from_dict(spec["geometry"]),
                limits=read_fields(DecodeLimits, spec["limits"], where="image limits"),
                hub_weights=hub_weights,
                device=device,
                precision=precision,
            )
        except ConfigError as error:
            raise BundleFormatError(f"image: {error}") from error


def _loaded_encoder(
    description: Any, hub_weights: HubWeights | None, folder: Path
) -> PictureEncoder:
    if hub_weights is None:
        encoder = make_encoder(description)
        read_module(encoder, folder / _ENCODER_FILE)
        return encoder
    config = timm_config(description)
    if config is None:
        raise ConfigError("weights of the Hub are those of a ViT of timm; this is another encoder")
    return ImageEncoder(config, pretrained=hub_weights.fetch())


def _check_fit(
    encoder: PictureEncoder,
    quantizer: ImageQuantizer | None,
    decoder: PictureDecoder | None,
    geometry: Geometry,
) -> None:
    if geometry.patch_size != encoder.patch_size:
        raise ConfigError(
            f"expected patches of {encoder.patch_size} pixels, the encoder's; the geometry has "
            f"{geometry.patch_size}"
        )
    if quantizer is None:
        return
    first = quantizer.project_in
    width = quantizer.code_dim if first is None else first.in_features
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
    if width != decoder.dim:
        raise ConfigError(f"the quantizer gives {width} channels, the decoder takes {decoder.dim}")
