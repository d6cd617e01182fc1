"""From the settings a user gives to a trained part: data, network, loop, files.

`ImageRecipe` is what is recorded with the part; the same recipe, data, thread count and library
versions give the same weights.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import ConfigError, TrainingError
from dvse.file_hash import file_sha256
from dvse.image.encoder import EncoderConfig
from dvse.image.geometry import AspectGeometry
from dvse.part import Part
from pipelines.image_codec import CodecConfig, ImageCodec
from pipelines.image_objective import load_teacher
from pipelines.image_part import write_image_part
from pipelines.image_quantizers import QuantizerConfig, QuantizerKind
from pipelines.image_start import continue_from, load_start
from pipelines.image_training import (
    ImageTrainingConfig,
    Precision,
    open_accelerator,
    train_codec,
)
from pipelines.picture_data import Pictures, load_pictures, parse_rows


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """All settings of `dvse train image`; see its help."""

    data: Path
    start: str | None = None
    new_encoder: bool = False
    rows: str = ":"
    validation_rows: str | None = None
    image_column: str = "image"
    label_column: str | None = None
    data_licence: str = ""
    picture_size: int = 32
    quantizer: QuantizerKind = "cosine"
    num_codes: int = 1024
    code_dim: int = 16
    num_levels: int = 1
    lattice: tuple[int, ...] = ()
    max_tokens: int = 256
    encoder: str = "vit_small_patch16_rope_224"
    stem_widths: tuple[int, ...] = (32, 48)
    stem_top: int = 0
    dim: int = 128
    depth: int = 2
    num_heads: int = 4
    decoder_widths: tuple[int, ...] = (128, 48, 24)
    decoder_blocks: int = 0
    teacher: str | None = None
    teacher_weights: Path | None = None
    teacher_layer: int = -1
    epochs: int = 4
    batch_size: int = 64
    accumulate: int = 1
    precision: Precision = "no"
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    label_weight: float = 0.0
    label_smoothing: float = 0.0
    mosaic_share: float = 0.25
    decoded_share: float = 1.0
    hard_from: float = 0.0
    hard_by: float = 0.0
    checkpoint_steps: int = 0
    seed: int = 0
    threads: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.teacher is None) != (self.teacher_weights is None):
            raise ConfigError(
                "expected a teacher's name and its weights together; name it as timm does and give "
                "the safetensors file that belongs to it"
            )
        if self.new_encoder and self.start is None:
            raise ConfigError("expected --start with --new-encoder: whose codes does it choose?")

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels: each stem width after the first resolution halves it."""
        return 2 ** len(self.stem_widths)


def train_image(recipe: ImageRecipe, output: Path, *, resume: bool = False) -> Part:
    """Train by the recipe and write the part and a checkpoint to `output`.

    Raises:
        TrainingError: data or a checkpoint that cannot be trained on.
        ConfigError: settings that do not fit together.
        MissingExtraError: vector-quantize-pytorch or accelerate is not installed.
    """
    import torch

    if recipe.picture_size % recipe.patch_size:
        raise ConfigError(
            f"expected a picture size that patches of {recipe.patch_size} divide, received "
            f"{recipe.picture_size}"
        )
    _make_folder(output)
    torch.set_num_threads(recipe.threads)
    training, quantizer = _training_config(recipe), _quantizer_config(recipe)
    accelerator = open_accelerator(training, device=recipe.device)
    train = _load(recipe, recipe.rows)
    validation = None
    if recipe.validation_rows is not None:
        validation = _load(recipe, recipe.validation_rows)
        _check_apart(recipe)
    check_enough(train, patch_size=recipe.patch_size, num_codes=quantizer.num_codes)
    teacher = None
    about: dict[str, Any] = {}
    if recipe.teacher is not None and recipe.teacher_weights is not None:
        teacher = load_teacher(recipe.teacher, recipe.teacher_weights, layer=recipe.teacher_layer)
        about = {
            "teacher": recipe.teacher,
            "teacher_layer": recipe.teacher_layer,
            "teacher_sha256": file_sha256(recipe.teacher_weights),
        }
    torch.manual_seed(recipe.seed)
    codec = ImageCodec(_codec_config(recipe, quantizer, train), teacher=teacher)
    if recipe.start is not None:
        start = load_start(recipe.start)
        continue_from(codec, start.tokenizer, is_encoder_new=recipe.new_encoder)
        about["start"] = dict(start.provenance)
    codec = codec.to(memory_format=torch.channels_last)
    log = train_codec(
        codec,
        train,
        validation,
        training,
        output,
        accelerator=accelerator,
        about=about,
        resume=resume,
    )
    if not accelerator.is_main_process:
        return Part(modality="image", folder=output, spec={})
    return write_image_part(
        codec.cpu(),
        AspectGeometry(patch_size=recipe.patch_size, max_tokens=recipe.max_tokens),
        output,
        validation=validation,
        provenance=_provenance(recipe, train, validation, log) | about,
    )


def check_enough(pictures: Pictures, *, patch_size: int, num_codes: int) -> None:
    """Refuse pictures whose different patches are fewer than the codes.

    Raises:
        TrainingError: say one picture, or pictures that are all alike.
    """
    n, side = len(pictures), pictures.pixels.shape[1] // patch_size
    num_patches = n * side**2
    if num_patches < num_codes:
        raise TrainingError(
            f"expected at least as many patches as codes, received {num_patches} for "
            f"{num_codes} codes; add pictures or lower --num-codes"
        )
    different: set[bytes] = set()
    for start in range(0, n, 256):
        block = pictures.pixels[start : start + 256]
        grid = block.reshape(len(block), side, patch_size, side, patch_size, 3)
        patches = grid.transpose(0, 1, 3, 2, 4, 5).reshape(len(block) * side**2, -1)
        different.update(patch.tobytes() for patch in np.unique(patches, axis=0))
        if len(different) >= num_codes:
            return
    raise TrainingError(
        f"expected at least {num_codes} different patches, one a code, received {len(different)} "
        f"(pictures: {n}); add pictures that are less alike, or lower --num-codes"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: the output folder cannot be made; {error}") from error


def _load(recipe: ImageRecipe, rows: str) -> Pictures:
    return load_pictures(
        recipe.data,
        size=recipe.picture_size,
        rows=parse_rows(rows),
        image_column=recipe.image_column,
        label_column=recipe.label_column,
        num_threads=recipe.threads,
    )


def _check_apart(recipe: ImageRecipe) -> None:
    assert recipe.validation_rows is not None
    train, held_out = parse_rows(recipe.rows), parse_rows(recipe.validation_rows)
    stop, held_stop = (s.stop if s.stop is not None else np.inf for s in (train, held_out))
    if (train.start or 0) < held_stop and (held_out.start or 0) < stop:
        raise TrainingError(
            f"expected validation rows outside the training rows, received {recipe.rows} and "
            f"{recipe.validation_rows}; a figure on pictures that were trained on says nothing"
        )


def _quantizer_config(recipe: ImageRecipe) -> QuantizerConfig:
    return QuantizerConfig(
        kind=recipe.quantizer,
        num_codes=recipe.num_codes,
        code_dim=recipe.code_dim,
        num_levels=recipe.num_levels,
        lattice=recipe.lattice,
    )


def _codec_config(recipe: ImageRecipe, quantizer: QuantizerConfig, train: Pictures) -> CodecConfig:
    options: dict[str, Any] = {
        "img_size": recipe.picture_size,
        "patch_size": recipe.patch_size,
        "embed_dim": recipe.dim,
        "depth": recipe.depth,
        "num_heads": recipe.num_heads,
        "dynamic_img_size": True,
        "class_token": False,
        "use_abs_pos_emb": False,
        "global_pool": "avg",
        "num_classes": 0,
    }
    return CodecConfig(
        encoder=EncoderConfig(
            name=recipe.encoder,
            options=options,
            stem_widths=recipe.stem_widths,
            stem_top=recipe.stem_top,
            std=(0.25, 0.25, 0.25),
        ),
        quantizer=quantizer,
        decoder_widths=recipe.decoder_widths,
        decoder_blocks=recipe.decoder_blocks,
        num_labels=len(train.label_names) if recipe.label_weight else 0,
    )


def _training_config(recipe: ImageRecipe) -> ImageTrainingConfig:
    return ImageTrainingConfig(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        accumulate=recipe.accumulate,
        precision=recipe.precision,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        label_weight=recipe.label_weight,
        label_smoothing=recipe.label_smoothing,
        mosaic_share=recipe.mosaic_share,
        decoded_share=recipe.decoded_share,
        hard_from=recipe.hard_from,
        hard_by=recipe.hard_by,
        checkpoint_steps=recipe.checkpoint_steps,
        seed=recipe.seed,
    )


def _provenance(
    recipe: ImageRecipe,
    train: Pictures,
    validation: Pictures | None,
    log: list[dict[str, Any]],
) -> dict[str, Any]:
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
    if recipe.start is not None:
        settings["start"] = Path(recipe.start).name
    settings["data"] = recipe.data.name  # the folder it lies in is this machine's business
    if recipe.teacher_weights is not None:
        settings["teacher_weights"] = recipe.teacher_weights.name
    data: dict[str, Any] = {
        "name": recipe.data.name,
        "licence": recipe.data_licence,
        "rows": recipe.rows,
        "pictures": len(train),
        "unreadable": train.num_unreadable,
        "sha256": train.sha256,
    }
    if validation is not None:
        data |= {"validation_rows": recipe.validation_rows, "validation_sha256": validation.sha256}
    return {
        "command": "dvse train image",
        "recipe": settings,
        "data": data,
        "labels_used": list(train.label_names) if recipe.label_weight else [],
        "log": log,
    }
