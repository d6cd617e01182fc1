"""What published systems reach, each on its own data: to stand beside figures, not to compare.

Read in the projects' own files in autumn 2026.
"""

from dataclasses import dataclass

_UNITS = "LibriSpeech dev, 256 units, frame-level phones"
_ABX = "ZeroSpeech triphones, LibriSpeech dev-clean / dev-other, discrete units"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure, what was reached, by which system and on which data."""

    figure: str
    reached: str
    system: str
    data: str


SPEECH = (
    Published(figure="PNMI", reached="0.614", system="HuBERT-base, layer 6", data=_UNITS),
    Published(figure="PNMI", reached="0.636", system="HuBERT-base, layer 11", data=_UNITS),
    Published(figure="PNMI", reached="0.665", system="SpidR, own codebooks", data=_UNITS),
    Published(figure="Phone purity", reached="0.639", system="HuBERT-base, layer 6", data=_UNITS),
    Published(figure="Phone purity", reached="0.707", system="SpidR, own codebooks", data=_UNITS),
    Published(
        figure="ABX error", reached="6.14 % / 8.40 %", system="HuBERT-base, layer 6", data=_ABX
    ),
    Published(figure="ABX error", reached="4.92 % / 6.27 %", system="SpidR, layer 6", data=_ABX),
)
PICTURES = (
    Published(
        figure="codes in use",
        reached="97-100 % of 8,192",
        system="BEiT v2, VQ-KD",
        data="ImageNet-1k",
    ),
    Published(
        figure="PSNR / SSIM / LPIPS",
        reached="28.0 dB / 0.951 / 0.028",
        system="Open-MAGVIT2-256",
        data="the common set of swiss-ai/benchmark-image-tokenzier",
    ),
    Published(
        figure="PSNR / SSIM / LPIPS",
        reached="24.2 dB / 0.916 / 0.039",
        system="TokenFlow-384",
        data="the common set of swiss-ai/benchmark-image-tokenzier",
    ),
    Published(
        figure="rFID", reached="2.19", system="LlamaGen, 16x16 codes", data="ImageNet 256x256"
    ),
    Published(figure="rFID", reached="2.21", system="TiTok-L-32", data="ImageNet 256x256"),
)
