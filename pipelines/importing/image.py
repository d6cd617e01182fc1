"""Published picture tokenizers as an image part: `import_image`.

| source | what it is |
|---|---|
| a file with `encode_task_layer` and `quantize` | BEiT v2's VQ-KD: codes, no way back |
| a file or directory with `latent_tokens` | TiTok: codes in one row |
| a directory of transformers | the VQ model of Chameleon (no way back), Emu3 or Janus |

Which it is, is told by the content.
"""

import warnings
from pathlib import Path

from dvse.errors import ConfigError, DvseError, WeightsFormatError
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.part import Part
from pipelines.importing.image_settings import ImageSettings
from pipelines.importing.model_folder import PublishedModel, read_model
from pipelines.importing.new_folder import new_folder
from pipelines.importing.titok import is_titok, titok_tokenizer
from pipelines.importing.vq_model import architecture_of, is_of_vq_model, vq_tokenizer
from pipelines.importing.vqkd import is_vqkd, vqkd_tokenizer


def import_image(
    source: Path, output: Path, *, settings: ImageSettings | None = None, licence: str = ""
) -> Part:
    """Write the part into `output`, whole or not at all.

    Args:
        source: a checkpoint file (`.pth`, `.bin`, safetensors), or a directory of transformers.
        settings: what nobody else says, or what goes before it.

    Raises:
        BundleError: no such tokenizer, damaged, or it would run code.
        ConfigError: a setting that stands nowhere, or an output folder in use.
        TrainingError: the disk is full.
    """
    settings = settings or ImageSettings()
    with new_folder(output, "the part") as folder:
        model = read_model(Path(source), wanted=is_of_vq_model)
        try:
            with warnings.catch_warnings(action="ignore"):  # of torch, about such shapes
                family, tokenizer = _tokenizer(model, settings)
        except ConfigError as error:  # said by what knows shapes and no files
            if str(error).startswith(model.where):
                raise
            raise ConfigError(f"{model.where}: {error}") from error
        except DvseError:
            raise
        except Exception as error:  # shapes that no network has, of which libraries say their own
            raise WeightsFormatError(
                f"{model.where}: its tensors and settings fit no tokenizer; "
                f"{' '.join(str(error).split())[:160]}"
            ) from error
        tokenizer.save_files(folder)
        Part(
            modality="image",
            folder=folder,
            spec=tokenizer.spec(),
            provenance={
                "command": "dvse import image",
                "family": family,
                "weights": dict(model.checkpoint.provenance),
                "said": settings.to_dict(),
                "licence": licence,
            },
        ).save()
    return Part.load(output, modality="image")


def _tokenizer(model: PublishedModel, settings: ImageSettings) -> tuple[str, ImageTokenizer]:
    if (architecture := architecture_of(model.config)) is not None:
        return architecture, vq_tokenizer(model, settings)
    if is_vqkd(model.tensors):
        return "vqkd", vqkd_tokenizer(model.where, model.checkpoint, settings)
    if is_titok(model.tensors):
        return "titok", titok_tokenizer(model.where, model.checkpoint, settings, model.config)
    raise WeightsFormatError(
        f"{model.where}: expected BEiT v2's VQ-KD, TiTok, or a transformers directory of "
        f"Chameleon, Emu3 or Janus, received tensors such as {sorted(model.tensors)[:3]}"
    )
