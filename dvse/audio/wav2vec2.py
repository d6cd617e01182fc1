"""Wav2Vec2 and HuBERT without transformers, whose import takes twice as long as torch's.

Only what encoding needs: convolutions, a convolution for positions, layers; no masks, no heads, no
dropout (Baevski et al. 2020, "wav2vec 2.0"; Hsu et al. 2021, "HuBERT"). Parameters carry
transformers' names and every operation is transformers', in its order, so that features are the
same bit for bit (a test compares them). Training and every other encoder are transformers'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

# What changes nothing where nobody trains, masks or puts a head on the encoder.
_WITHOUT_EFFECT = {
    "activation_dropout", "apply_spec_augment", "architectures", "attention_dropout",
    "bos_token_id", "classifier_proj_size", "codevector_dim", "contrastive_logits_temperature",
    "ctc_loss_reduction", "ctc_zero_infinity", "diversity_loss_weight", "eos_token_id",
    "feat_proj_dropout", "feat_quantizer_dropout", "final_dropout", "hidden_dropout",
    "initializer_range", "layerdrop", "mask_feature_length", "mask_feature_min_masks",
    "mask_feature_prob", "mask_time_length", "mask_time_min_masks", "mask_time_prob",
    "num_adapter_layers", "num_codevector_groups", "num_codevectors_per_group",
    "num_feat_extract_layers", "num_negatives", "output_hidden_size", "adapter_kernel_size",
    "adapter_stride", "pad_token_id", "proj_codevector_dim", "tdnn_dilation", "tdnn_dim",
    "tdnn_kernel", "use_weighted_layer_sum", "vocab_size", "xvector_output_dim",
}  # fmt: skip
# What would change something: only with these values is the encoder the one that is built here.
_FIXED = {
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "hidden_act": "gelu",
}


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Sizes:
    """The fields of a transformers configuration that decide the network, with its defaults."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self | None:
        """Read a configuration; `None` where only transformers can say what it means."""
        known = {field.name: field for field in fields(cls)}
        for name, value in config.items():
            if name in _FIXED and value != _FIXED[name]:
                return None
            if name not in known and name not in _FIXED and name not in _WITHOUT_EFFECT:
                return None
        given: dict[str, Any] = {n: value for n, value in config.items() if n in known}
        for name, value in given.items():
            given[name] = tuple(value) if isinstance(value, list) else value
        sizes = cls(**given)
        return sizes if sizes._is_sound() else None

    def _is_sound(self) -> bool:
        kinds = all(type(getattr(self, f.name)) is type(f.default) for f in fields(self))
        return (
            kinds
            and len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0
            and all(type(n) is int and n > 0 for n in self.conv_dim + self.conv_kernel)
            and all(type(n) is int and n > 0 for n in self.conv_stride)
            and min(self.hidden_size, self.num_attention_heads, self.intermediate_size) > 0
            and min(self.num_conv_pos_embeddings, self.num_conv_pos_embedding_groups) > 0
            and self.hidden_size % self.num_attention_heads == 0
            and self.hidden_size % self.num_conv_pos_embedding_groups == 0
            and self.feat_extract_norm in ("group", "layer")
        )


@dataclass(frozen=True)
class Hidden:
    """What the encoder returns, under transformers' name: `fp32 [B, frames, hidden_size]`."""

    last_hidden_state: Tensor


class Wav2Vec2Encoder(nn.Module):
    """Samples `fp32 [B, n]` to the hidden states after `num_layers` layers.

    Args:
        config: sizes.
        num_layers: how many layers are kept.
        has_last_norm: whether a stable (pre-norm) encoder normalises once more at the end.

    >>> import torch
    >>> sizes = Wav2Vec2Sizes(hidden_size=32, num_attention_heads=2, intermediate_size=8)
    >>> encoder = Wav2Vec2Encoder(sizes, num_layers=1, has_last_norm=True).eval()
    >>> encoder(torch.zeros(1, 16_000)).last_hidden_state.shape
    torch.Size([1, 49, 32])
    """

    def __init__(self, config: Wav2Vec2Sizes, *, num_layers: int, has_last_norm: bool) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = _FeatureExtractor(config)
        last = config.conv_dim[-1]
        self.feature_projection = nn.ModuleDict(
            {
                "layer_norm": nn.LayerNorm(last, eps=config.layer_norm_eps),
                "projection": nn.Linear(last, config.hidden_size),
            }
        )
        self.encoder = _Layers(config, num_layers, has_last_norm)

    def forward(self, samples: Tensor) -> Hidden:
        """Return the hidden states of recordings without padding."""
        features = self.feature_extractor(samples).transpose(1, 2)
        for part in self.feature_projection.values():
            features = part(features)
        return Hidden(self.encoder(features))


class _FeatureExtractor(nn.Module):
    def __init__(self, config: Wav2Vec2Sizes) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            _Convolution(config, i) for i in range(len(config.conv_dim))
        )

    def forward(self, samples: Tensor) -> Tensor:
        hidden = samples[:, None]
        for layer in self.conv_layers:
            hidden = layer(hidden)
        return hidden


class _Convolution(nn.Module):
    def __init__(self, config: Wav2Vec2Sizes, number: int) -> None:
        super().__init__()
        width = config.conv_dim[number]
        self.conv = nn.Conv1d(
            config.conv_dim[number - 1] if number else 1,
            width,
            kernel_size=config.conv_kernel[number],
            stride=config.conv_stride[number],
            bias=config.conv_bias,
        )
        self.layer_norm: nn.Module | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(width)
        elif number == 0:
            self.layer_norm = nn.GroupNorm(num_groups=width, num_channels=width)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv(hidden)
        if isinstance(self.layer_norm, nn.LayerNorm):
            hidden = self.layer_norm(hidden.transpose(-2, -1)).transpose(-2, -1)
        elif self.layer_norm is not None:
            hidden = self.layer_norm(hidden)
        return F.gelu(hidden)


class _Layers(nn.Module):
    def __init__(self, config: Wav2Vec2Sizes, num_layers: int, has_last_norm: bool) -> None:
        super().__init__()
        self.is_stable = config.do_stable_layer_norm
        self.pos_conv_embed = _Positions(config)
        self.layer_norm: nn.Module = nn.Identity()
        if has_last_norm or not self.is_stable:
            self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(num_layers))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.pos_conv_embed(hidden)
        if not self.is_stable:
            hidden = self.layer_norm(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.layer_norm(hidden) if self.is_stable else hidden


class _Positions(nn.Module):
    def __init__(self, config: Wav2Vec2Sizes) -> None:
        super().__init__()
        kernel = config.num_conv_pos_embeddings
        conv = nn.Conv1d(
            config.hidden_size,
            config.hidden_size,
            kernel_size=kernel,
            padding=kernel // 2,
            groups=config.num_conv_pos_embedding_groups,
        )
        self.conv = weight_norm(conv, name="weight", dim=2)
        self.num_excess = 1 - kernel % 2

    def forward(self, hidden: Tensor) -> Tensor:
        placed = self.conv(hidden.transpose(1, 2))
        if self.num_excess:
            placed = placed[:, :, : -self.num_excess]
        return F.gelu(placed).transpose(1, 2)


class _Layer(nn.Module):
    def __init__(self, config: Wav2Vec2Sizes) -> None:
        super().__init__()
        self.is_stable = config.do_stable_layer_norm
        size, eps = config.hidden_size, config.layer_norm_eps
        self.attention = _Attention(size, config.num_attention_heads)
        self.layer_norm = nn.LayerNorm(size, eps=eps)
        self.feed_forward = nn.ModuleDict(
            {
                "intermediate_dense": nn.Linear(size, config.intermediate_size),
                "output_dense": nn.Linear(config.intermediate_size, size),
            }
        )
        self.final_layer_norm = nn.LayerNorm(size, eps=eps)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.is_stable:
            hidden = hidden + self.attention(self.layer_norm(hidden))
            return hidden + self._dense(self.final_layer_norm(hidden))
        hidden = self.layer_norm(hidden + self.attention(hidden))
        return self.final_layer_norm(hidden + self._dense(hidden))

    def _dense(self, hidden: Tensor) -> Tensor:
        inner = F.gelu(self.feed_forward["intermediate_dense"](hidden))
        return self.feed_forward["output_dense"](inner)


class _Attention(nn.Module):
    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.k_proj, self.v_proj = nn.Linear(size, size), nn.Linear(size, size)
        self.q_proj, self.out_proj = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, hidden: Tensor) -> Tensor:
        count, length, size = hidden.shape
        q, k, v = (
            project(hidden).view(count, length, self.num_heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        scale = (size // self.num_heads) ** -0.5
        found = F.scaled_dot_product_attention(q, k, v, scale=scale)
        return self.out_proj(found.transpose(1, 2).reshape(count, length, size))
