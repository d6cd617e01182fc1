"""The convolutional VQ models that transformers ships: Chameleon's, Emu3's and Janus's.

Their encoder up to the codebook's width is a `VqEncoder`, their way from code vectors to pixels a
`VqDecoder`; the codebook between them is DVSE's own. transformers has no decoder for Chameleon's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.errors import ConfigError
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.placement import check_scaling

ARCHITECTURES = ("chameleon", "emu3", "janus")
_ALONG_TIME = (3, 1, 1), (1, 1, 1)  # kernel and stride of a convolution over frames


@dataclass(frozen=True, kw_only=True)
class VqConfig:
    """Which VQ model, and how pixels are scaled for it.

    Attributes:
        architecture: `chameleon`, `emu3` or `janus`.
        config: fields of transformers' configuration of the VQ model that are not its defaults.
        mean, std: per RGB channel, of pixels scaled to 0 … 1.
    """

    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.architecture not in ARCHITECTURES or not isinstance(self.config, Mapping):
            raise ConfigError(
                f"expected a VQ model among {ARCHITECTURES} and its config, received "
                f"{self.architecture!r}"
            )
        check_scaling(self.mean, self.std)

    def made(self) -> Any:
        """Return transformers' configuration.

        Raises:
            ConfigError: fields that transformers refuses.
        """
        import transformers

        kind = {"chameleon": "Chameleon", "emu3": "Emu3", "janus": "Janus"}[self.architecture]
        try:
            config = getattr(transformers, f"{kind}VQVAEConfig")(**self.config)
        except Exception as error:  # transformers refuses in many ways
            raise ConfigError(f"VQ model: {' '.join(str(error).split())[:300]}") from error
        config._attn_implementation = "sdpa"  # as its own model class would choose
        return config


class VqEncoder(PictureEncoder):
    """`uint8 [N, H, W, 3]` to features `fp32 [N, H/p, W/p, dim]` in the codebook's space.

    >>> config = VqConfig(architecture="janus", mean=(0.5,) * 3, std=(0.5,) * 3, config={
    ...     "base_channels": 32, "channel_multiplier": [1, 1], "num_res_blocks": 1,
    ...     "latent_channels": 8, "embed_dim": 4, "num_embeddings": 16, "num_patches": 4})
    >>> VqEncoder(config).eval()(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).shape
    torch.Size([1, 4, 4, 4])
    """

    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    def __init__(self, config: VqConfig) -> None:
        super().__init__(config.mean, config.std)
        with _explained():
            made = config.made()
            self.config, self.dim = config, made.embed_dim
            self.patch_size = 2 ** (len(made.channel_multiplier) - 1)
            self.temporal = getattr(made, "temporal_downsample_factor", 1)
            self.encoder, self.quant_conv = _encoder(config.architecture, made)

    def features(self, normalized: Tensor) -> Tensor:
        """Return the features of each place of the grid."""
        if self.config.architecture != "emu3":
            return self.quant_conv(self.encoder(normalized)).permute(0, 2, 3, 1)
        # Emu3's takes videos: a picture is one that stands still.
        frames = normalized[:, None].repeat(1, self.temporal, 1, 1, 1)
        hidden = self.quant_conv(self.encoder(frames).permute(0, 2, 1, 3, 4))
        return hidden[:, :, 0].permute(0, 2, 3, 1)


class VqDecoder(nn.Module):
    """Code vectors `fp32 [N, rows, columns, dim]` to pixels `fp32 [N, 3, H, W]`.

    Raises:
        ConfigError: Chameleon's, of which transformers has none.
    """

    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        with _explained():
            made = config.made()
            self.config, self.dim = config, made.embed_dim
            self.patch_size = 2 ** (len(made.channel_multiplier) - 1)
            self.post_quant_conv, self.decoder = _decoder(config.architecture, made)

    def forward(self, features: Tensor) -> Tensor:
        """Return the pixels."""
        if self.config.architecture == "janus":
            features = F.normalize(features, dim=-1)
            return self.decoder(self.post_quant_conv(features.permute(0, 3, 1, 2)))
        codes = features.permute(0, 3, 1, 2)[:, :, None]  # one frame
        hidden = self.post_quant_conv(codes)
        frames = self.decoder(hidden.permute(0, 2, 1, 3, 4), codes.permute(0, 2, 1, 3, 4))
        return frames.reshape(len(features), -1, *frames.shape[1:])[:, 0]


def has_decoder(architecture: str) -> bool:
    """Return whether transformers can turn the codes of a VQ model back into pixels.

    >>> has_decoder("janus"), has_decoder("chameleon")
    (True, False)
    """
    return architecture != "chameleon"


def _encoder(architecture: str, made: Any) -> tuple[nn.Module, nn.Module]:
    modeling = _modeling(architecture)
    if architecture == "emu3":
        conv = modeling.Emu3VQVAEConv3d(made.latent_channels, made.embed_dim, *_ALONG_TIME)
        return modeling.Emu3VQVAEEncoder(made), conv
    kind = modeling.JanusVQVAEEncoder if architecture == "janus" else modeling.ChameleonVQVAEEncoder
    return kind(made), nn.Conv2d(made.latent_channels, made.embed_dim, 1)


def _decoder(architecture: str, made: Any) -> tuple[nn.Module, nn.Module]:
    modeling = _modeling(architecture)
    if architecture == "emu3":
        conv = modeling.Emu3VQVAEConv3d(made.embed_dim, made.latent_channels, *_ALONG_TIME)
        return conv, modeling.Emu3VQVAEDecoder(made)
    if architecture == "janus":
        conv = nn.Conv2d(made.embed_dim, made.latent_channels, 1)
        return conv, modeling.JanusVQVAEDecoder(made)
    raise ConfigError(f"transformers has no decoder for the VQ model of {architecture!r}")


def _modeling(architecture: str) -> Any:
    return import_module(f"transformers.models.{architecture}.modeling_{architecture}")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what torch and transformers say of sizes that cannot be into a `ConfigError`."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # of many kinds
        raise ConfigError(f"VQ model: {' '.join(str(error).split())[:300]}") from error
