"""What of a decoder learns: all of it, the rows of new ids alone, or adapters beside it.

    [adapters]                        LoRA by PEFT; the decoder's own weights stay
    rank = 16
    new_rows = true                   and the embedding's rows of images and recordings learn, too

Source: Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models". Outputs are words, so
of the head nothing has to be learnt anew.
"""

import warnings
from typing import Any

from torch import nn

from dvse.errors import ConfigError, MissingExtraError
from model import DvseConfig, DvseForCausalLM, ModelError, fitting_group_size, quantize
from model.quantization_config import METHOD, WeightOnlyConfig, check_kernels
from pipelines.training.decoder.recipe import AdapterSettings, DecoderRecipe, DecoderTraining


def with_adapters(decoder: DvseForCausalLM, settings: AdapterSettings, added: range) -> nn.Module:
    """Return the decoder under adapters that begin without effect.

    Args:
        decoder: its own weights stay.
        settings: the adapters.
        added: ids of new rows, which learn beside them if asked for, see `new_ids`.

    Raises:
        MissingExtraError: PEFT is not installed.
        ConfigError: targets that the decoder does not have.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra(str(error.name), "peft") from None

    more: dict[str, Any] = {}
    if settings.new_rows:
        more["trainable_token_indices"] = {"embed_tokens": list(added)}
    # PEFT leaves the head out, and a gate is no linear layer.
    targets: Any = list(settings.targets)
    if settings.targets in ((), ("all-linear",)):
        targets = "all-linear"
    try:
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
            **more,
        )
        with warnings.catch_warnings():  # PEFT asks transformers by a name that it gives up
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return peft.get_peft_model(decoder, config)
    except ValueError as error:
        raise ConfigError(f"[adapters]: {error}") from error


def check_rounding(config: DvseConfig, recipe: DecoderRecipe) -> None:
    """Refuse, before any weight is read, bits that a recipe cannot train with.

    Args:
        config: of the decoder that training begins at.
        recipe: of all stages.

    Raises:
        ConfigError: a decoder that is quantized and is to be rounded, to learn or to be merged
            into; rows that no group divides; kernels that are not here.
    """
    start = recipe.model.get("checkpoint", "the decoder")
    is_quantized = getattr(config, "quantization_config", None) is not None
    stages = recipe.in_stages()
    try:
        check_kernels(config, start)
        for number, stage in enumerate(stages, start=1):
            bits = stage.adapters.bits if stage.adapters is not None else None
            if is_quantized and stage.adapters is None and stage.training.learns == "all":
                raise ConfigError(
                    f"{start}: its weights are quantized, and integers do not learn; train "
                    "[adapters] beside them, or begin at the model that it was made from"
                )
            if is_quantized and bits is not None:
                raise ConfigError(
                    f"[adapters] bits: {start} is quantized already; leave bits out, or begin at "
                    "the model that it was made from"
                )
            if is_quantized and stage.adapters is not None and number < len(stages):
                raise ConfigError(
                    f"{start}: its weights are quantized, and adapters are not merged into them; "
                    "let them be the last stage"
                )
            if bits == 4:
                fitting_group_size(config)
    except ModelError as error:
        raise ConfigError(f"the recipe's model: {error}") from error


def rounded(decoder: DvseForCausalLM, settings: AdapterSettings) -> DvseForCausalLM:
    """Return the decoder with its weights in as few bits as adapters are to stand beside.

    Source: Dettmers et al., 2023, "QLoRA". *Deviation*: groups of integers with a scale and a zero
    (`model.quantized_linear`), which answers read as they are, in place of 4-bit floats.

    Raises:
        ConfigError: no group size divides its rows.
    """
    if settings.bits is None:
        return decoder
    try:
        group_size = 128 if settings.bits == 8 else fitting_group_size(decoder.config)
        return quantize(decoder, bits=settings.bits, group_size=group_size)
    except ModelError as error:
        raise ConfigError(f"[adapters] bits: {error}") from error


def as_stored(decoder: DvseForCausalLM, config: DvseConfig) -> DvseForCausalLM:
    """Return a decoder made from a configuration with the layers that its checkpoint has."""
    stored = _stored_bits(config)
    if stored is None:
        return decoder
    return quantize(decoder, bits=stored.bits, group_size=stored.group_size)


def let_learn(decoder: DvseForCausalLM, settings: DecoderTraining, added: range) -> None:
    """Freeze what the recipe does not want to learn.

    With `learns = "new rows"` the embedding learns, but its gradient is kept to the new ids.
    """
    if settings.learns == "all":
        return
    for weight in decoder.parameters():
        weight.requires_grad_(False)
    table = decoder.get_input_embeddings().weight
    table.requires_grad_(True)

    def keep_new(gradient: Any) -> Any:
        gradient = gradient.clone()
        gradient[: added.start] = 0
        gradient[added.stop :] = 0
        return gradient

    table.register_hook(keep_new)


def _stored_bits(config: DvseConfig) -> WeightOnlyConfig | None:
    """Return how a checkpoint's weights are stored, where `dvse quantize` wrote it."""
    stored = getattr(config, "quantization_config", None)
    if not isinstance(stored, dict) or stored.get("quant_method") != METHOD:
        return None
    found: WeightOnlyConfig = WeightOnlyConfig.from_dict(stored)
    return found
