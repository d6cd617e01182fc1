"""A speech encoder as transformers keeps it, in a directory or on the Hub: whole, or refused."""

from typing import TYPE_CHECKING, Any

from dvse.audio.whole_model import in_one_line, whole_model
from dvse.errors import BundleNotFoundError, ConfigError, WeightsFormatError

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
            f"{name}: expected a directory with a transformers model, or a Hub name; "
            f"{in_one_line(error)}"
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
        BundleError: see `whole_model`.
    """
    _, model_class = classes(config.model_type)
    return whole_model(model_class, name, may_miss=_NOT_PUBLISHED, revision=revision or "main")


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
