"""The decoder for answers: ids to logits with the full decoder's layers, on torch alone.

Importing transformers' modelling code takes more than twice as long as importing torch and loads
its trainers' and quantizers' parts; a process that answers needs none of them. What is left out:
gradients, experts, quantized weights, scaled positions, packed documents, recorded outputs. The
numbers are those of `DvseForCausalLM`, bit for bit where its weights lie at addresses like these
(a mapped file begins anywhere, which moves the last bit of a product of one row).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..input_checks import check_context, check_ids, check_length
from ..linear import Linear
from ..rotary import rotary_table
from .cache import PlainCache
from .config import PlainConfig
from .layer import PlainLayer
from .norm import PlainRMSNorm


@dataclass(frozen=True, kw_only=True)
class PlainOutput:
    """What a call gives.

    Attributes:
        last_hidden_state: `[B, T, hidden_size]`.
        past_key_values: the cache, where one is used.
        logits: `[B, kept, vocab_size]`, from the decoder with its head.
    """

    last_hidden_state: torch.Tensor
    past_key_values: Any
    logits: torch.Tensor | None = None


class PlainModel(nn.Module):
    """The decoder without its head; parameters have `DvseModel`'s names."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        # Not begun at random: on `meta`, where it is built, that imports torch's compiler.
        shape = (config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(*shape, _weight=torch.empty(shape))
        self.layers = nn.ModuleList(
            PlainLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)
        )
        self.norm = PlainRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        # Made here and never stored, so on a real device whatever the weights begin on.
        size = config.rotary_size
        powers = torch.arange(0, size, 2, dtype=torch.float, device="cpu") / size
        self._inverse_frequencies = 1.0 / (config.rope_theta**powers)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        **kwargs: Any,
    ) -> PlainOutput:
        """Run all layers over `input_ids` `[B, T]`.

        Args:
            attention_mask: `[B, S]`, 0 for padding.
            position_ids: `[B, T]`; by default they go on from the cache.
            past_key_values: a `PlainCache`, or another with its methods.
            kwargs: for the attention function.

        Raises:
            TokenIdError, EmptySequenceError, ContextLengthError: as `DvseModel` does.
        """
        num_new = input_ids.shape[-1]
        check_length(num_new)
        check_ids(input_ids, self.config.vocab_size)
        check_context(past_key_values, num_new, self.config.max_position_embeddings)
        if use_cache and past_key_values is None:
            past_key_values = PlainCache(len(self.layers))
        num_past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = torch.arange(num_past, num_past + num_new).unsqueeze(0)
        hidden_states = self.embed_tokens(input_ids)
        mask = causal_mask(attention_mask, num_new, num_past)
        rotations = self._rotations(position_ids, hidden_states.dtype)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_embeddings=rotations,
                past_key_values=past_key_values,
                **kwargs,
            )
        return PlainOutput(
            last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values
        )

    def _rotations(self, position_ids: torch.Tensor, dtype: torch.dtype) -> tuple[Any, ...]:
        angles = position_ids[..., None].float() * self._inverse_frequencies
        both = torch.cat((angles, angles), dim=-1)
        return rotary_table(both.cos().to(dtype), both.sin().to(dtype), self.config.head_dim)


class PlainDecoder(nn.Module):
    """The decoder with its head; in eval mode, without gradients, on a CPU."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.model = PlainModel(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.lm_head.weight.dtype

    def attend_with(self, name: str, function: Callable[..., Any]) -> None:
        """Let all layers attend by a function that takes and gives what `grouped_attention` does.

        Args:
            name: for transformers' table, in which the full decoder looks; not needed here.
        """
        layers: Any = self.model.layers
        for layer in layers:
            layer.self_attn.function = function

    def forward(
        self, input_ids: torch.Tensor, logits_to_keep: int | torch.Tensor = 0, **given: Any
    ) -> PlainOutput:
        """Return the logits of the next token after each token.

        Args:
            input_ids: `[B, T]`.
            logits_to_keep: positions that get logits: 0 is all, a number the last ones, an array
                those.
            given: as `PlainModel` takes it.
        """
        found = self.model(input_ids, **given)
        keep = logits_to_keep
        kept = slice(-keep, None) if isinstance(keep, int) else keep
        return PlainOutput(
            last_hidden_state=found.last_hidden_state,
            past_key_values=found.past_key_values,
            logits=self.lm_head(found.last_hidden_state[:, kept, :]),
        )


def causal_mask(
    attention_mask: torch.Tensor | None, num_new: int, num_past: int
) -> torch.Tensor | None:
    """Return which tokens each new one sees, `bool [B or 1, 1, num_new, num_past + num_new]`.

    `None` where that is all of them for one token, or those before it for a prompt: kernels know
    both cases by themselves.

    Args:
        attention_mask: `[B, num_past + num_new]`, 0 for padding.

    Example:
        >>> causal_mask(torch.tensor([[0, 1, 1]]), 2, 1)[0, 0].tolist()
        [[False, True, False], [False, True, True]]
    """
    if attention_mask is None or bool(attention_mask.all()):
        if num_new == 1 or num_past == 0:
            return None
        attention_mask = None
    new = torch.arange(num_past, num_past + num_new)
    seen = torch.arange(num_past + num_new) <= new[:, None]
    if attention_mask is None:
        return seen[None, None]
    return seen[None, None] & attention_mask.bool()[:, None, None, :]
