"""The DVSE decoder: GLM with grouped-query attention, a gated FFN, experts and one embedding.

`DvseModel` maps ids to hidden states, `DvseForCausalLM` maps them to logits. Rotary angles, norms,
masks, the attention interface, caches and generation are transformers'; attention, gate, FFN and
experts are in the files beside this one. Knows ids and sizes, nothing of what an id stands for.

Life of a batch: ids are checked → embedded → for each layer: norm, attention, residual, norm, gate,
FFN or experts, residual → norm → head.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.glm.modeling_glm import (
    GlmForCausalLM,
    GlmModel,
    GlmPreTrainedModel,
    GlmRotaryEmbedding,
)
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from model.decoder_layer import DvseDecoderLayer
from model.outputs import DvseCausalLMOutput, DvseModelOutput

from .attention import GroupedQueryAttention
from .checkpoint import check_shards, explain_failure
from .configuration_dvse import DvseConfig
from .errors import ModelInputError
from .experts import Experts, Router, load_balance_loss
from .growing_cache import let_grow
from .input_checks import check_context, check_ids, check_length
from .linear import Linear
from .norm import RMSNorm
from .rotary import rotary_table
from .token_gate import TokenGate, budget_loss

# In labels: no token to be predicted here (transformers' and torch's own mark).
_NO_LABEL = -100


class _WhereThereAreExperts:
    """Whether the experts' kernel can be chosen: asked of a model, it depends on its configuration.

    transformers asks the class and looks for a decorator in its source; here one class serves dense
    models and models with experts, so the class answers no and a model with experts answers yes.
    """

    def __get__(self, model: Any, owner: type) -> Any:
        config = None if model is None else model.__dict__.get("config")
        return lambda: config is not None and config.has_experts


class DvsePreTrainedModel(GlmPreTrainedModel):
    """What both models share: configuration, initialisation, recorded outputs."""

    config: DvseConfig
    config_class = DvseConfig
    base_model_prefix = "model"
    _no_split_modules = ["DvseDecoderLayer"]  # noqa: RUF012
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": DvseDecoderLayer,
        "attentions": GroupedQueryAttention,
        "router_logits": OutputRecorder(Router, index=0),
        "gate_logits": OutputRecorder(TokenGate, index=0),
    }
    _can_set_experts_implementation = _WhereThereAreExperts()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Load a checkpoint of this model or of GLM-4, as `PreTrainedModel.from_pretrained` does.

        Raises:
            MissingShardError: a weight file named in the index is not there.
            TensorShapeError: a tensor does not have the configuration's shape.
            CheckpointError: a weight file is cut off.
            ModelConfigError: `config.json` has an unknown key or is another architecture's.
        """
        name_or_path = pretrained_model_name_or_path
        directory = None if name_or_path is None else Path(name_or_path)
        if directory is None or not directory.is_dir():
            return super().from_pretrained(name_or_path, *args, **kwargs)
        directory /= kwargs.get("subfolder", "")
        check_shards(directory)
        try:
            return super().from_pretrained(name_or_path, *args, **kwargs)
        except (RuntimeError, OSError, SafetensorError):
            config = kwargs.get("config") or DvseConfig.from_pretrained(name_or_path, **kwargs)
            explain_failure(directory, cls, config)
            raise

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, TokenGate):
            init.zeros_(module.weight)
            init.constant_(module.bias, self.config.gate_bias_init)
        elif isinstance(module, Router):
            init.normal_(module.weight, mean=0.0, std=std)
            init.zeros_(module.e_score_correction_bias)
        elif isinstance(module, Experts):
            init.normal_(module.gate_up_proj, mean=0.0, std=std)
            init.normal_(module.down_proj, mean=0.0, std=std)
        else:
            super()._init_weights(module)


class DvseModel(DvsePreTrainedModel, GlmModel):
    """The decoder without its head: ids `[B, T]` to hidden states `[B, T, hidden_size]`.

    Raises:
        TokenIdError: an id outside the vocabulary.
        EmptySequenceError: no token at all.
        ContextLengthError: a cache longer than `max_position_embeddings`.
    """

    def __init__(self, config: DvseConfig) -> None:
        GlmPreTrainedModel.__init__(self, config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            [DvseDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = GlmRotaryEmbedding(config=config)
        # Reading a transformers configuration is slow, and this is read for every token.
        self.head_dim = config.head_dim
        self.max_positions = config.max_position_embeddings
        self.records_more = config.has_experts or config.use_token_gate
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Run all layers over `input_ids` `[B, T]` or `inputs_embeds` `[B, T, hidden_size]`."""
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if inputs_embeds is None:
            assert input_ids is not None
            check_length(input_ids.shape[-1])
            check_ids(input_ids, self.embed_tokens.num_embeddings)
            inputs_embeds = self.embed_tokens(input_ids)
        check_length(inputs_embeds.shape[1])
        check_context(past_key_values, inputs_embeds.shape[1], self.max_positions)
        # Before a cache is made: packed documents are told apart only where there is none. And
        # before positions are: those that nobody gave start no document, and a compiled graph
        # would have to look for one.
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        let_grow(past_key_values)
        if position_ids is None:
            num_past = past_key_values.get_seq_length() if past_key_values is not None else 0
            new = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)
            position_ids = (new + num_past).unsqueeze(0)  # type: ignore[assignment]
        cos, sin = self.rotary_emb(inputs_embeds, position_ids=position_ids)
        rotations = rotary_table(cos, sin, self.head_dim)

        hidden_states = inputs_embeds
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_embeddings=rotations,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
        output_class = DvseModelOutput if self.records_more else BaseModelOutputWithPast
        return output_class(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values
        )


class DvseForCausalLM(DvsePreTrainedModel, GlmForCausalLM, GenerationMixin):
    """The decoder with its head: ids `[B, T]` to logits `[B, T, vocab_size]`.

    In training, `loss` is the next-token loss plus `gate_loss_coef` times the gates' budget loss
    and `router_aux_loss_coef` times the experts' load-balance loss, where the model has them.

    Example:
        >>> config = DvseConfig(vocab_size=64, hidden_size=32, intermediate_size=64,
        ...                     num_hidden_layers=2, num_attention_heads=4)
        >>> model = DvseForCausalLM(config).eval()
        >>> model(torch.tensor([[1, 2, 3]])).logits.shape
        torch.Size([1, 3, 64])
    """

    def __init__(self, config: DvseConfig) -> None:
        GlmPreTrainedModel.__init__(self, config)
        self.model = DvseModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        self.has_experts = config.has_experts
        self.has_gates = config.use_token_gate
        self.post_init()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the head; a plain linear layer, as resizing makes, becomes this model's."""
        if type(new_embeddings) is nn.Linear:
            new_embeddings.__class__ = Linear
        super().set_output_embeddings(new_embeddings)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor | str = 0,
        output_router_logits: bool | None = None,
        output_gate_logits: bool | None = None,
        modality_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token after each token; with `labels` `[B, T]` (-100: none) a loss.

        Args:
            input_ids: `[B, T]`, or `inputs_embeds` `[B, T, hidden_size]` in their place.
            attention_mask: `[B, S]`, 0 for padding, or `[B, 1, T, S]`, what each token sees.
            position_ids: `[B, T]`. Several documents in a row are packed by positions that start
                again at 0 at each of them, without an `attention_mask`: none sees another.
            past_key_values: tokens seen before, `S - T` of them.
            labels: `[B, T]`, the ids themselves where they count and -100 elsewhere.
            logits_to_keep: positions that get logits: 0 is all, a number the last ones, an array
                those. `"labelled"` is only those that have a label, `[N, vocab_size]`: the loss is
                the same and the head, the widest product, runs for answers alone.
            modality_ids: `[B, T]`, taken so that `model(**batch)` and `generate(**batch)` work on
                a tokenizer's output as it is; not read, the ids say it themselves.
        """
        config = self.config
        wants_router = self.has_experts and _first(output_router_logits, config, "router")
        wants_gates = self.has_gates and _first(output_gate_logits, config, "gate")
        is_training = self.training and labels is not None
        needs_router = wants_router or (self.has_experts and is_training)
        needs_gates = wants_gates or (self.has_gates and (is_training or needs_router))
        if needs_router or needs_gates:
            kwargs["output_router_logits"] = needs_router
            kwargs["output_gate_logits"] = needs_gates
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        loss = aux_loss = gates_loss = None
        if isinstance(logits_to_keep, str):
            logits, loss = self._labelled(outputs.last_hidden_state, labels, logits_to_keep, kwargs)
        else:
            keep = (
                slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            )
            logits = self.lm_head(outputs.last_hidden_state[:, keep, :])
        if labels is not None and loss is None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=config.vocab_size, **kwargs
            )
        if needs_router:
            aux_loss = self._load_balance_loss(outputs, attention_mask)
        if needs_gates and (wants_gates or labels is not None):
            gates_loss = budget_loss(
                outputs.gate_logits,
                [config.gate_threshold(i) for i in range(config.num_hidden_layers)],
                config.gate_target_share,
                _counted(attention_mask, outputs.last_hidden_state),
            )
        if loss is not None and aux_loss is not None:
            loss = loss + config.router_aux_loss_coef * aux_loss.to(loss.device)
        if loss is not None and gates_loss is not None and self.training:
            loss = loss + config.gate_loss_coef * gates_loss.to(loss.device)

        return DvseCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            aux_loss=aux_loss if wants_router or is_training else None,
            budget_loss=gates_loss,
            router_logits=outputs.router_logits if wants_router else None,
            gate_logits=outputs.gate_logits if wants_gates else None,
        )

    def _labelled(
        self, hidden_states: torch.Tensor, labels: torch.Tensor | None, name: str, given: dict
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `[N, vocab_size]` of the positions whose next token has a label, and the loss."""
        next_ids = given.pop("shift_labels", None)
        if next_ids is None and labels is not None:
            next_ids = nn.functional.pad(labels[:, 1:], (0, 1), value=_NO_LABEL)
        if name != "labelled" or next_ids is None:
            raise ModelInputError(
                "logits_to_keep must be a number, an array of positions, or 'labelled' together "
                f"with labels, got {name!r} {'with' if next_ids is not None else 'without'} labels."
            )
        is_labelled = next_ids != _NO_LABEL
        logits = self.lm_head(hidden_states[is_labelled.to(hidden_states.device)])
        loss = self.loss_function(
            logits=logits,
            labels=None,
            shift_labels=next_ids[is_labelled],
            vocab_size=self.config.vocab_size,
            **given,
        )
        return logits, loss

    def _load_balance_loss(self, outputs: Any, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Count the rows that were routed: those of real tokens, and of open gates if skipped."""
        config = self.config
        counted = _counted(attention_mask, outputs.last_hidden_state)
        if counted is None:
            counted = torch.ones(outputs.last_hidden_state.shape[:2])
        logits_left = list(outputs.router_logits)
        layers = [i for i in range(config.num_hidden_layers) if config.is_expert_layer(i)]
        is_any_skipped = len(logits_left) < len(layers)
        logits, masks = [], []
        for layer_idx in layers:
            mask = counted.reshape(-1)
            if outputs.gate_logits is not None and not self.training:
                is_open = outputs.gate_logits[layer_idx] >= config.gate_threshold(layer_idx)
                if is_any_skipped and not is_open.any():
                    continue  # no row of this layer was routed
                if logits_left[0].shape[0] != mask.shape[0]:
                    mask = mask.to(is_open.device)[is_open.reshape(-1)]
            logits.append(logits_left.pop(0))
            masks.append(mask.to(logits[-1].device))
        if not logits:
            return outputs.last_hidden_state.new_zeros(())
        return load_balance_loss(tuple(logits), config.num_experts_per_tok, masks)


def _counted(
    attention_mask: torch.Tensor | None, hidden_states: torch.Tensor
) -> torch.Tensor | None:
    """The part `[B, T]` of a 2-D attention mask that belongs to the tokens at hand."""
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    return attention_mask[:, -hidden_states.shape[1] :]


def _first(given: bool | None, config: DvseConfig, name: str) -> bool:
    return getattr(config, f"output_{name}_logits") if given is None else given
