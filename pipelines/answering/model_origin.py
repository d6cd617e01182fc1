"""Where a loaded model came from: what a pickle of it holds, see `dvse.origin`."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dvse.errors import BundleIntegrityError, ConfigError
from dvse.origin import Origin

if TYPE_CHECKING:
    import torch

    from model import DvseForCausalLM
    from pipelines.answering.model_directory import LoadedModel


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
        device, dtype: as `load_model` takes them.
    """

    name: str
    source: str
    tokenizer: Origin
    decoder: str
    device: str
    dtype: "torch.dtype"

    @classmethod
    def of(cls, loaded: "LoadedModel") -> Self:
        """Describe a loaded model.

        Raises:
            ConfigError: it was put together by hand.
        """
        origin = loaded.tokenizer.origin
        if loaded.source is None or origin is None:
            raise ConfigError("only a model that was loaded can be pickled; save it, load it")
        return cls(
            name=loaded.name,
            source=loaded.source,
            tokenizer=origin,
            decoder=decoder_sha256(loaded.model),
            device=loaded.device,
            dtype=loaded.model.dtype,
        )

    def load(self) -> "LoadedModel":
        """Load the same model again.

        Raises:
            BundleError: it is not there any more.
            BundleIntegrityError: it is another one now, or was changed in memory.
        """
        from pipelines.answering.model_directory import load_model

        loaded = load_model(
            self.source, device=self.device, dtype=self.dtype, threads=self.tokenizer.threads
        )
        is_same = loaded.tokenizer.fingerprint == self.tokenizer.fingerprint
        if not is_same or decoder_sha256(loaded.model) != self.decoder:
            raise BundleIntegrityError(
                f"{self.source}: the model there is not the one that was pickled; if it was "
                "changed in memory, save it and load it from there"
            )
        return loaded.called(self.name)
