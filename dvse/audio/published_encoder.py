"""A speech encoder as transformers keeps it, in a directory or on the Hub: whole, or refused.

transformers fills what a file does not hold with random numbers and goes on. A feature would then
be another one each time that the file is loaded, so here every tensor has to be there, and finite.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from dvse.errors import BundleNotFoundError, ConfigError, UnsafeFileError, WeightsFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
"""Each is a configuration and a model of transformers: `HubertConfig`, `HubertModel`."""

_NOT_PUBLISHED = {"masked_spec_embed"}  # only training masks features


def classes(architecture: str) -> tuple[Any, Any]:
    """Return the configuration and the model class of transformers."""
    import transformers

    name = ARCHITECTURES[architecture]
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")


def published_config(name: str, revision: str | None = None) -> Any:
    """Return the configuration of an encoder.

    Raises:
        BundleNotFoundError: it is not there and cannot be fetched.
        ConfigError: of another family.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except Exception as error:  # missing folders, network and repository errors of many kinds
        raise BundleNotFoundError(
            f"{name}: expected a directory with a transformers model, or a Hub name; {_said(error)}"
        ) from error
    if config.model_type not in ARCHITECTURES:
        raise ConfigError(
            f"{name}: expected a model among {sorted(ARCHITECTURES)}, received "
            f"{config.model_type!r}"
        )
    return config


def published_model(name: str, config: Any, revision: str | None = None) -> "PreTrainedModel":
    """Return an encoder with all of its weights, in fp32.

    Args:
        name: a directory or a Hub name.
        config: of `published_config`.
        revision: of a Hub name.

    Raises:
        BundleNotFoundError: there are no weights, or they cannot be fetched.
        UnsafeFileError: they are a pickle of other things than tensors.
        WeightsFormatError: damaged, not whole, of another shape, or not finite.
    """
    _, model_class = classes(config.model_type)
    try:
        model, found = model_class.from_pretrained(
            name,
            revision=revision or "main",
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:
        if any("weights only" in str(one).lower() for one in _causes(error)):
            raise UnsafeFileError(
                f"{name}: expected weights that are tensors alone, received a pickle that names "
                "something else, which was not run; ask its author for safetensors"
            ) from error
        raise BundleNotFoundError(
            f"{name}: its weights cannot be loaded; {_said(error)}"
        ) from error
    if other := sorted(str(entry) for entry in found["mismatched_keys"]):
        raise WeightsFormatError(
            f"{name}: {len(other)} tensors have another shape than its config.json says: {other[0]}"
        )
    if missing := sorted(set(found["missing_keys"]) - _NOT_PUBLISHED):
        raise WeightsFormatError(
            f"{name}: {len(missing)} tensors are missing, such as {missing[0]!r}; is it whole?"
        )
    for tensor_name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{name}: tensor {tensor_name!r} holds NaN or infinity")
    return model


def recorded_normalization(name: str, revision: str | None = None) -> bool | None:
    """Return `do_normalize` of an encoder's feature extractor, `None` where nothing says it.

    Raises:
        WeightsFormatError: its file says something else than yes or no.
    """
    from transformers import FeatureExtractionMixin

    try:
        settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(name, revision=revision)
        said = settings.get("do_normalize")
    except OSError as error:
        if "valid JSON" in str(error):
            raise _no_extractor(name, "no JSON") from error
        return None
    except Exception as error:  # a list, a number: transformers looks for fields in it
        raise _no_extractor(name, "none") from error
    if said is not None and not isinstance(said, bool):
        raise _no_extractor(name, f"do_normalize {said!r}")
    return said


def _no_extractor(name: str, received: str) -> WeightsFormatError:
    return WeightsFormatError(
        f"{name}: expected do_normalize true or false in preprocessor_config.json, received "
        f"{received}"
    )


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
