"""A speech encoder as transformers keeps it, in a directory or on the Hub: whole, or refused."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.audio.whole_model import in_one_line, whole_model
from dvse.errors import BundleNotFoundError, ConfigError, WeightsFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
"""Each is a configuration and a model of transformers: `HubertConfig`, `HubertModel`."""

_SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
)
_PLANS = ("conv_dim", "conv_kernel", "conv_stride")
_MOST_LAYERS, _WIDEST = 1000, 1_000_000

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
        WeightsFormatError: sizes that no encoder has.
    """
    from transformers import AutoConfig

    try:
        if not Path(name).exists():
            _fetch_config(name, revision)
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
    check_sizes(name, config)
    return config


def check_sizes(where: str, config: Any) -> None:
    """Refuse sizes that transformers takes and no encoder has.

    Args:
        where: begins the message.
        config: of transformers.

    Raises:
        WeightsFormatError: names the field.
    """
    told = {name: [getattr(config, name)] for name in _SIZES}
    told |= {name: list(getattr(config, name)) for name in _PLANS}
    for name, values in told.items():
        most = _MOST_LAYERS if name == "num_hidden_layers" else _WIDEST
        if not values or not all(isinstance(n, int) and 0 < n <= most for n in values):
            received = getattr(config, name)
            raise WeightsFormatError(
                f"{where}: expected a config.json with {name} of 1..{most}, received {received!r}"
            )


def _fetch_config(repo: str, revision: str | None) -> None:
    """Have the Hub's cache hold the configuration.

    Its client asks once for a snapshot; for a file alone it waits and asks five times, and tells
    of each.
    """
    from huggingface_hub import snapshot_download

    snapshot_download(repo, revision=revision, allow_patterns=["*config.json"])


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
    return whole_model(
        model_class,
        name,
        may_miss=_NOT_PUBLISHED,
        has_no_more_of=("encoder.", "feature_extractor.", "feature_projection."),
        revision=revision or "main",
    )


def recorded_normalization(name: str, revision: str | None = None) -> bool | None:
    """Return `do_normalize` of an encoder's feature extractor, `None` where nothing says it.

    Raises:
        WeightsFormatError: its file says something else than yes or no.
    """
    said = _extractor(name, revision).get("do_normalize")
    if said is not None and not isinstance(said, bool):
        raise _no_extractor(name, f"do_normalize {said!r}")
    return said


def recorded_rate_hz(name: str, revision: str | None = None) -> int | None:
    """Return `sampling_rate` of an encoder's feature extractor, `None` where nothing says it.

    Raises:
        WeightsFormatError: its file says something else than a number of samples.
    """
    said = _extractor(name, revision).get("sampling_rate")
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 1_000 <= said <= 200_000:
        raise _no_extractor(name, f"sampling_rate {said!r}")
    return said


def _extractor(name: str, revision: str | None) -> dict[str, Any]:
    from transformers import FeatureExtractionMixin

    try:
        settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(name, revision=revision)
        return {"do_normalize": None, **settings}
    except OSError as error:
        if "valid JSON" in str(error):
            raise _no_extractor(name, "no JSON") from error
        return {}
    except Exception as error:  # a list, a number: transformers looks for fields in it
        raise _no_extractor(name, "none") from error


def _no_extractor(name: str, received: str) -> WeightsFormatError:
    return WeightsFormatError(
        f"{name}: expected do_normalize true or false and a sampling_rate of 1000..200000 in "
        f"preprocessor_config.json, received {received}"
    )
