"""The network beside an encoder's stem learns to tell labels apart, before anything else does.

Inside the codec labels get their share of each step only, beside pixels and codes; so the network
learns them by itself, and stays as it is inside. Small convolutions, orthogonal steps for their
weights (Muon, Jordan et al. 2024) that keep a fixed norm, whitened pixels, and few passes:
after the published recipe for CIFAR-10 in seconds on a GPU (Jordan 2024, "94 % on CIFAR-10 in 3.29
seconds"). *Deviations:* the mean over places instead of their maximum, so that each place speaks
for itself; a share of the steps sees mosaics; a square of each picture is greyed out.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dvse.errors import TrainingError
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.picture_context import PictureContext
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint
from pipelines.training.image.mosaic import cut_out, shift_and_mirror, tile, untile
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.settings import ContextSettings, ImageTrainingConfig

CONTEXT_FILE = "context.pt"

_MOMENTUM, _ORTHOGONAL_RATE = 0.6, 0.24
_PLAIN_MOMENTUM, _BIAS_RATE, _HEAD_RATE = 0.85, 0.053, 0.67  # of losses that are summed up
_DECAY = 2e-6  # a picture of a batch
_SMOOTHING = 0.2
_MOSAIC_SHARE = 0.2
_CUT = 8  # pixels, side of the square that is greyed out
_TOGETHER = 512
_WHITENED = 5_000  # pictures that say how pixels vary
_WHITENING_PASSES = 3


class _Convolution(nn.Module):
    """3x3, without a bias; its weight is a matrix, as Muon takes them."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        weight = torch.empty(wide, narrow, 3, 3)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        nn.init.dirac_(weight[:narrow])
        self.shape = weight.shape
        self.weight = nn.Parameter(weight.flatten(1))

    def filters(self) -> Tensor:
        return self.weight.view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        filters = self.filters().to(memory_format=torch.channels_last)
        return F.conv2d(x, filters, padding=1)


class ContextClassifier(nn.Module):
    """`fp32 [N, 3, H, W]` in normalised units to votes `fp32 [N, num_labels, h, w]`.

    The grid is `PictureContext`'s; the mean of the votes over places are the logits.

    Args:
        widths: of the `PictureContext` that `folded` returns.
        num_labels: classes.
    """

    def __init__(self, widths: tuple[int, ...], num_labels: int) -> None:
        super().__init__()
        self._widths = widths
        self.first = PictureContext(widths).first
        self.first.weight.requires_grad_(False)
        assert self.first.bias is not None
        nn.init.zeros_(self.first.bias)
        pairs = zip((self.first.out_channels, *widths), widths, strict=False)
        sizes = [size for narrow, wide in pairs for size in ((narrow, wide), (wide, wide))]
        self.convolutions = nn.ModuleList([_Convolution(*size) for size in sizes])
        self.norms = nn.ModuleList([nn.BatchNorm2d(wide, momentum=0.4) for _, wide in sizes])
        for norm in self.norms:
            norm.weight.requires_grad_(False)
        self.head = nn.Linear(widths[-1], num_labels, bias=False)
        nn.init.normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes of each place of the coarse grid."""
        x = F.gelu(self.first(F.pad(x, (0, 1, 0, 1), mode="replicate")))
        for i, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolve(x)
            if i % 2 == 0:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.gelu(norm(x))
        votes = F.linear(x.permute(0, 2, 3, 1).float(), self.head.weight) / x.shape[1]
        return votes.permute(0, 3, 1, 2)

    @torch.no_grad()
    def whiten(self, pixels: Tensor) -> None:
        """Let the first convolution give uncorrelated directions of `[N, 3, H, W]`, either sign."""
        patches = pixels.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).flatten(3)
        flat = patches.reshape(-1, 12).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        whitening = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
        self.first.weight.copy_(torch.cat([whitening, -whitening]))

    @torch.no_grad()
    def keep_norms(self) -> None:
        """Bring each convolution's weights back to the norm of one a channel."""
        convolutions: Any = self.convolutions
        for convolution in convolutions:
            weight = convolution.weight
            weight.mul_(len(weight) ** 0.5 / weight.norm())

    @torch.no_grad()
    def folded(self) -> PictureContext:
        """Return the same network without its norms, whose statistics become weights.

        A norm behind max-pooling may go before it, for it scales by positive numbers.
        """
        context = PictureContext(self._widths)
        context.first.load_state_dict(self.first.state_dict())
        stages: Any = context.stages
        targets = [one for stage in stages for one in stage]
        ours: Any = zip(self.convolutions, self.norms, strict=True)
        for (convolution, norm), target in zip(ours, targets, strict=True):
            scale = (norm.running_var + norm.eps).rsqrt()
            target.weight.copy_(convolution.filters() * scale[:, None, None, None])
            target.bias.copy_(norm.bias - norm.running_mean * scale)
        return context


def learn_context(
    train: Pictures,
    validation: Pictures | None,
    settings: ContextSettings,
    folder: Path,
    *,
    encoder: PictureEncoder,
    config: ImageTrainingConfig,
    device: torch.device,
    resume: bool,
) -> PictureContext:
    """Return a network that has learnt the labels of `train`.

    Args:
        validation: whose labels are told after each epoch.
        folder: of its checkpoint.
        encoder: whose stem it will stand beside; it scales pixels.
        config: seed and precision of the run.
        device: where it learns.
        resume: go on from the checkpoint, where there is one.

    Raises:
        TrainingError: no labels, fewer pictures than a batch, a checkpoint of other settings, or a
            full disk.
    """
    _check(train, settings)
    torch.manual_seed(config.seed)
    network = ContextClassifier(settings.widths, len(train.label_names))
    network.whiten(encoder.normalize(torch.from_numpy(train.pixels[:_WHITENED])))
    network = network.to(memory_format=torch.channels_last).to(device)
    optimizers = _optimizers(network, settings)
    identity = {
        **json.loads(json.dumps(asdict(settings))),
        "pictures": train.sha256,
        "precision": config.precision,
        "seed": config.seed,
    }
    path, first = folder / CONTEXT_FILE, 0
    if resume and (state := load_checkpoint(path, identity)) is not None:
        network.load_state_dict(state["network"])
        for one, theirs in zip(optimizers, state["optimizers"], strict=True):
            one.load_state_dict(theirs)
        first = state["epochs"]
    learn = _Learning(network, optimizers, train, encoder.normalize, config, device)
    for epoch in tqdm(range(first, settings.epochs), desc="context", unit="epoch"):
        loss = learn.epoch(epoch, settings)
        line: dict[str, Any] = {"context": epoch + 1, "loss": round(loss, 4)}
        if validation is not None and validation.labels is not None:
            line["labels_right"] = round(learn.score(validation), 4)
        tqdm.write(json.dumps(line))
        state = {
            "network": network.state_dict(),
            "optimizers": [one.state_dict() for one in optimizers],
            "epochs": epoch + 1,
        }
        save_checkpoint(path, identity, state)
    return network.cpu().eval().folded()


def _check(train: Pictures, settings: ContextSettings) -> None:
    if train.labels is None:
        raise TrainingError("expected labels for --context-widths; name their column")
    if len(train) < settings.batch_size:
        raise TrainingError(
            f"expected at least {settings.batch_size} pictures for --context-widths, received "
            f"{len(train)}; give more, or a smaller --context-batch-size"
        )


class _Learning:
    """What every step needs."""

    def __init__(
        self,
        network: ContextClassifier,
        optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
        train: Pictures,
        normalize: Callable[[Tensor], Tensor],
        config: ImageTrainingConfig,
        device: torch.device,
    ) -> None:
        self._network, self._optimizers, self._train = network, optimizers, train
        self._normalize, self._config, self._device = normalize, config, device

    def epoch(self, epoch: int, settings: ContextSettings) -> float:
        """Take the steps of an epoch and return their mean loss."""
        size = settings.batch_size
        num_steps = len(self._train) // size
        order = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._train))
        mean = 0.0
        for place in tqdm(range(num_steps), desc=f"context {epoch + 1}", unit="step", leave=False):
            step = epoch * num_steps + place
            self._set_rates(step / (num_steps * settings.epochs), step / num_steps)
            rng = np.random.default_rng((self._config.seed, 2, step))
            mean += self._gradient(order[place * size : (place + 1) * size], rng) / num_steps
            for one in self._optimizers:
                one.step()
                one.zero_grad()
            self._network.keep_norms()
        if not math.isfinite(mean):
            raise TrainingError(f"the loss of the context is no longer finite in epoch {epoch + 1}")
        return mean

    @torch.no_grad()
    def score(self, pictures: Pictures) -> float:
        """Return the share of labels that the network tells, 0 … 1."""
        assert pictures.labels is not None
        self._network.eval()
        right = 0
        for start in range(0, len(pictures), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            votes = self._votes(torch.from_numpy(pictures.pixels[part]))
            found = votes.mean((1, 2)).argmax(1).cpu().numpy()
            right += int((found == pictures.labels[part]).sum())
        self._network.train()
        return right / len(pictures)

    def _set_rates(self, share: float, passes: float) -> None:
        """Let rates fall to zero; that of the whitened pixels' bias in three passes."""
        for one in self._optimizers:
            for group in one.param_groups:
                group["lr"] = group["initial_lr"] * (1 - share)
        whitening = self._optimizers[1].param_groups[0]
        whitening["lr"] = whitening["initial_lr"] * max(0.0, 1 - passes / _WHITENING_PASSES)

    def _gradient(self, rows: np.ndarray, rng: np.random.Generator) -> float:
        """Add the gradient of a batch, a part at a time, and return its mean loss."""
        assert self._train.labels is not None
        total = 0.0
        for start in range(0, len(rows), _TOGETHER):
            part = rows[start : start + _TOGETHER]
            pixels = cut_out(shift_and_mirror(self._train.pixels[part], rng), rng, side=_CUT)
            is_mosaic = len(part) >= 4 and rng.random() < _MOSAIC_SHARE
            tiles = (2, 2) if is_mosaic else (1, 1)
            logits = untile(self._votes(tile(torch.from_numpy(pixels), tiles)), tiles).mean((1, 2))
            labels = torch.from_numpy(self._train.labels[part])[: len(logits)].to(self._device)
            loss = F.cross_entropy(logits, labels, label_smoothing=_SMOOTHING, reduction="sum")
            loss.backward()
            total += loss.item()
        return total / len(rows)

    def _votes(self, pixels: Tensor) -> Tensor:
        """Return the votes `fp32 [N, h, w, num_labels]` of `uint8 [N, H, W, 3]`."""
        x = self._normalize(pixels).to(self._device).contiguous(memory_format=torch.channels_last)
        is_half = self._config.precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=is_half):
            return self._network(x).permute(0, 2, 3, 1)


def _optimizers(
    network: ContextClassifier, settings: ContextSettings
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the convolutions; SGD for the first one's bias, those of norms, and the head."""
    modules: Any = network.convolutions, network.norms
    convolutions, biases = [one.weight for one in modules[0]], [one.bias for one in modules[1]]
    decay = _DECAY * settings.batch_size
    groups: list[Mapping[str, Any]] = [
        {"params": [network.first.bias], "lr": _BIAS_RATE, "weight_decay": decay / _BIAS_RATE},
        {"params": biases, "lr": _BIAS_RATE, "weight_decay": decay / _BIAS_RATE},
        {"params": [network.head.weight], "lr": _HEAD_RATE, "weight_decay": decay / _HEAD_RATE},
    ]
    muon = torch.optim.Muon(
        convolutions, lr=_ORTHOGONAL_RATE, momentum=_MOMENTUM, weight_decay=0.0, ns_steps=3
    )
    sgd = torch.optim.SGD([dict(one) for one in groups], momentum=_PLAIN_MOMENTUM, nesterov=True)
    for one in (muon, sgd):
        for group in one.param_groups:
            group["initial_lr"] = group["lr"]
    return muon, sgd
