"""The DVSE decoder: GLM with grouped-query attention, a gated FFN, experts and one embedding.

`DvseModel` maps ids to hidden states, `DvseForCausalLM` maps them to logits. Rotary angles, norms,
masks, the attention interface, caches and generation are transformers'; attention, gate, FFN and
experts are in the files beside this one. Knows ids and sizes, nothing of what an id stands for.

Life of a batch: ids are checked → embedded → for each layer: norm, attention, residual, norm, gate,
FFN or experts, residual → norm → head.
"""

from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin
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
from transformers.utils.output_capturing import capture_outputs

from . import quantization  # noqa: F401  # transformers finds the quantizer by its name
from .auxiliary_losses import Wanted, auxiliary_losses
from .configuration_dvse import DvseConfig
from .decoder_layer import DvseDecoderLayer
from .errors import ModelInputError
from .growing_cache import let_grow
from .input_checks import check_context, check_ids, check_length
from .linear import Linear
from .norm import RMSNorm
from .outputs import DvseCausalLMOutput, DvseModelOutput
from .pretrained import DvsePreTrainedModel
from .rotary import rotary_table
from .together import Together

# In labels: no token to be predicted here (transformers' and torch's own mark).
_NO_LABEL = -100


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
            # PEFT's wrapper around a table tells its weight alone.
            num_ids = getattr(self.embed_tokens, "num_embeddings", None)
            check_ids(input_ids, num_ids or self.embed_tokens.weight.shape[0])
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
        for layer in self.layers[: self.config.num_hidden_layers]:  # an assistant exits early
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
        self.together: Together | None = None  # the processes of a training, see its file
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
        wanted = self._wanted(output_router_logits, output_gate_logits, labels is not None)
        kwargs |= wanted.flags
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        answer = self._labelled if isinstance(logits_to_keep, str) else self._kept
        logits, loss = answer(outputs.last_hidden_state, labels, logits_to_keep, kwargs)
        together = self.together if self.training else None
        more = auxiliary_losses(self.config, outputs, attention_mask, wanted, together)
        return DvseCausalLMOutput(
            loss=None if loss is None else more.added_to(loss, self.config, self.training),
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            aux_loss=more.load_balance,
            budget_loss=more.budget,
            router_logits=outputs.router_logits if wanted.gives_router else None,
            gate_logits=outputs.gate_logits if wanted.gives_gates else None,
        )

    def _wanted(self, router: bool | None, gates: bool | None, has_loss: bool) -> Wanted:
        if not (self.has_experts or self.has_gates):
            return Wanted()
        config = self.config
        if router is None:
            router = config.output_router_logits
        if gates is None:
            gates = config.output_gate_logits
        return Wanted.by(
            router if self.has_experts else None,
            gates if self.has_gates else None,
            has_loss=has_loss,
            adds=has_loss and self.training,
        )

    def _kept(
        self, hidden_states: torch.Tensor, labels: torch.Tensor | None, keep: Any, given: dict
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits `[B, kept, vocab_size]` of these positions, and the loss of labels."""
        kept = slice(-keep, None) if isinstance(keep, int) else keep
        logits = self.lm_head(hidden_states[:, kept, :])
        if labels is None:
            return logits, None
        vocab_size = self.config.vocab_size
        return logits, self.loss_function(
            logits=logits, labels=labels, vocab_size=vocab_size, **given
        )

    def _labelled(
        self, hidden_states: torch.Tensor, labels: torch.Tensor | None, name: Any, given: dict
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
