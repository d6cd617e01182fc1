"""Where a loaded model came from: what a pickle of it holds, see `dvse.origin`."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvse.errors import BundleIntegrityError
from dvse.origin import Origin

if TYPE_CHECKING:
    import torch

    from model import DvseForCausalLM
    from pipelines.answering.weight_format import Quantization


def decoder_sha256(model: "DvseForCausalLM") -> str:
    """Return a hash (hex) of a decoder's settings and of every value of its weights."""
    import torch

    settings = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """A model by name or path, what it was, and how it was loaded.

    Attributes:
        name, source: what people call it; shipped name or absolute path.
        tokenizer: where its tokenizer came from.
        decoder: see `decoder_sha256`.
        device, dtype, quantize: as `load_model` takes them.
    """

    name: str
    source: str
    tokenizer: Origin
    decoder: str
    device: str
    dtype: "torch.dtype"
    quantize: "Quantization | None" = None

    def check(self, fingerprint: str, model: "DvseForCausalLM") -> None:
        """Refuse another model than the one that was described.

        Raises:
            BundleIntegrityError: it is another one now, or was changed in memory.
        """
        self.tokenizer.check(fingerprint)
        if decoder_sha256(model) != self.decoder:
            raise BundleIntegrityError(
                f"{self.source}: the decoder there is not the one that was pickled; if it was "
                "changed in memory, save it and load it from there"
            )
