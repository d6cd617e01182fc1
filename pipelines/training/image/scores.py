"""How a codec does on pictures while it is being trained."""

import math
from dataclasses import dataclass

import torch

from pipelines.codebooks.usage import CodebookUsage
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.pictures import Pictures


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a codec does on pictures, in training (a part's own figures come from the saved files).

    Attributes:
        psnr_db: from the mean squared error over all pixels, on a scale of 0 … 1; `None` where
            features are rebuilt instead.
        loss: of the objective.
        codes_used: share of the codebook's first level that occurs.
        perplexity: exponential of the entropy of its codes.
        accuracy: of the label head, `None` without labels.
    """

    psnr_db: float | None
    loss: float
    codes_used: float
    perplexity: float
    accuracy: float | None


@torch.no_grad()
def score_codec(codec: ImageCodec, pictures: Pictures, *, batch_size: int = 100) -> Scores:
    """Rebuild the pictures and count their codes."""
    codec.eval()
    device = next(codec.parameters()).device
    squared_error, loss, right = 0.0, 0.0, 0
    counts = torch.zeros(codec.config.quantizer.num_codes, dtype=torch.int64)
    for start in range(0, len(pictures), batch_size):
        pixels = torch.from_numpy(pictures.pixels[start : start + batch_size]).to(device)
        output = codec(pixels)
        loss += float(output.loss) * len(pixels)
        if codec.decoder is not None:
            error = (codec.encoder.denormalize(output.rebuilt).float() - pixels.float()) / 255
            squared_error += float(error.square().mean((1, 2, 3)).sum())
        counts += torch.bincount(output.codes[..., 0].flatten().cpu(), minlength=len(counts))
        if output.votes is not None and pictures.labels is not None:
            guess = output.votes.mean((1, 2)).argmax(-1).cpu().numpy()
            right += int((guess == pictures.labels[start : start + batch_size]).sum())
    usage = CodebookUsage(counts=counts.numpy())
    is_labelled = codec.votes is not None and pictures.labels is not None
    psnr = -10 * math.log10(max(squared_error / len(pictures), 1e-12))
    return Scores(
        psnr_db=None if codec.decoder is None else psnr,
        loss=loss / len(pictures),
        codes_used=usage.share_used,
        perplexity=usage.perplexity,
        accuracy=right / len(pictures) if is_labelled else None,
    )
