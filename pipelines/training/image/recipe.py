"""From the settings a user gives to a trained part: data, network, loop, files."""

from pathlib import Path
from typing import Any

from dvse.errors import ConfigError, TrainingError
from dvse.image.encoder import EncoderConfig
from dvse.image.geometry import AspectGeometry
from dvse.image.rotary_vit import rotary_options
from dvse.storage.file_hash import file_sha256
from dvse.storage.part import Part
from pipelines.settings import recorded
from pipelines.training.image.codec import CodecConfig, ImageCodec
from pipelines.training.image.context import learn_context
from pipelines.training.image.loop import open_accelerator, train_codec
from pipelines.training.image.objective import load_teacher
from pipelines.training.image.part import write_image_part
from pipelines.training.image.picture_checks import check_apart, check_enough
from pipelines.training.image.pictures import Pictures, load_rows
from pipelines.training.image.settings import ImageRecipe, TokenizerSettings
from pipelines.training.image.start import Start, continue_from, load_start


def train_image(recipe: ImageRecipe, output: Path, *, resume: bool = False) -> Part:
    """Train by the recipe and write the part and a checkpoint to `output`.

    Raises:
        TrainingError: data or a checkpoint that cannot be trained on.
        ConfigError: settings that do not fit together.
        MissingExtraError: vector-quantize-pytorch or accelerate is not installed.
    """
    import torch

    data, wanted = recipe.data, recipe.tokenizer
    if data.picture_size % wanted.patch_size:
        raise ConfigError(
            f"expected a picture size that patches of {wanted.patch_size} divide, received "
            f"{data.picture_size}"
        )
    _make_folder(output)
    torch.set_num_threads(recipe.machine.threads)
    accelerator = open_accelerator(recipe.training, device=recipe.machine.device)
    train = load_rows(data, data.rows, num_threads=recipe.machine.threads)
    validation = None
    if data.validation_rows is not None:
        validation = load_rows(data, data.validation_rows, num_threads=recipe.machine.threads)
        validation = validation.labelled_as(train.label_names)
        check_apart(data.rows, data.validation_rows)
    check_enough(train, patch_size=wanted.patch_size, num_codes=wanted.quantizer.num_codes)
    codec = _codec(recipe, train)
    about = _about_teacher(recipe)
    start = None if wanted.start is None else load_start(wanted.start)
    if start is not None:
        continue_from(
            codec,
            start.tokenizer,
            is_encoder_new=wanted.new_encoder,
            learns=wanted.learns,
        )
        about["start"] = dict(start.provenance)
    if (stem := codec.encoder.context_stem) is not None:
        if not _has_context(start, wanted):
            _learn_context(codec, recipe, train, validation, output, accelerator, resume=resume)
        codec.freeze(stem.context)
    log = train_codec(
        codec.to(memory_format=torch.channels_last),
        train,
        validation,
        recipe.training,
        output,
        accelerator=accelerator,
        about=about,
        resume=resume,
    )
    if not accelerator.is_main_process:
        return Part(modality="image", folder=output, spec={})
    return write_image_part(
        codec.cpu(),
        AspectGeometry(patch_size=wanted.patch_size, max_tokens=wanted.max_tokens),
        output,
        validation=validation,
        provenance=_provenance(recipe, train, validation, log) | about,
    )


def _has_context(start: Start | None, wanted: TokenizerSettings) -> bool:
    """Whether the start's encoder, which is gone on with, has a network beside its stem."""
    if start is None or wanted.new_encoder:
        is_there = False
    else:
        is_there = getattr(start.tokenizer.encoder, "context_stem", None) is not None
    if not is_there and wanted.learns == "pixels":
        raise ConfigError(
            "expected a start with a context, or none with --learns pixels: the encoder that would "
            "make use of it stays as it is; leave --context-widths out"
        )
    return is_there


def _learn_context(
    codec: ImageCodec,
    recipe: ImageRecipe,
    train: Pictures,
    validation: Pictures | None,
    output: Path,
    accelerator: Any,
    *,
    resume: bool,
) -> None:
    """Let the network beside the stem learn labels by itself."""
    with accelerator.main_process_first():  # the others read what it has written
        context = learn_context(
            train,
            validation,
            recipe.context,
            output,
            encoder=codec.encoder,
            config=recipe.training,
            device=accelerator.device,
            resume=resume or not accelerator.is_main_process,
        )
    stem = codec.encoder.context_stem
    assert stem is not None
    stem.context.load_state_dict(context.state_dict())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: the output folder cannot be made; {error}") from error


def _about_teacher(recipe: ImageRecipe) -> dict[str, Any]:
    teacher = recipe.teacher
    if teacher.name is None or teacher.weights is None:
        return {}
    return {
        "teacher": teacher.name,
        "teacher_layer": teacher.layer,
        "teacher_sha256": file_sha256(teacher.weights),
    }


def _codec(recipe: ImageRecipe, train: Pictures) -> ImageCodec:
    """Return the network with weights drawn by the seed."""
    import torch

    teacher = None
    if recipe.teacher.name is not None and recipe.teacher.weights is not None:
        teacher = load_teacher(
            recipe.teacher.name, recipe.teacher.weights, layer=recipe.teacher.layer
        )
    wanted = recipe.tokenizer
    options = rotary_options(
        img_size=recipe.data.picture_size,
        patch_size=wanted.patch_size,
        embed_dim=wanted.dim,
        depth=wanted.depth,
        num_heads=wanted.num_heads,
    )
    config = CodecConfig(
        encoder=EncoderConfig(
            name=wanted.encoder,
            options=options,
            stem_widths=wanted.stem_widths,
            stem_top=wanted.stem_top,
            context_widths=recipe.context.widths,
            std=(0.25, 0.25, 0.25),
        ),
        quantizer=wanted.quantizer,
        decoder=wanted.decoder,
        num_labels=len(train.label_names) if recipe.training.label_weight else 0,
    )
    torch.manual_seed(recipe.training.seed)
    return ImageCodec(config, teacher=teacher)


def _provenance(
    recipe: ImageRecipe,
    train: Pictures,
    validation: Pictures | None,
    log: list[dict[str, Any]],
) -> dict[str, Any]:
    settings = recorded(recipe)
    if recipe.tokenizer.start is not None:
        settings["start"] = Path(recipe.tokenizer.start).name
    data: dict[str, Any] = {
        "name": recipe.data.path.name,
        "licence": recipe.data.licence,
        "rows": recipe.data.rows,
        "pictures": len(train),
        "unreadable": train.num_unreadable,
        "sha256": train.sha256,
    }
    if validation is not None:
        data |= {
            "validation_rows": recipe.data.validation_rows,
            "validation_sha256": validation.sha256,
        }
    return {
        "command": "dvse train image",
        "recipe": settings,
        "data": data,
        "labels_used": list(train.label_names) if recipe.training.label_weight else [],
        "log": log,
    }
