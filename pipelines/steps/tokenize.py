"""Tokenising as a step of the job: chunks → codes → ids → rows of token shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dvse.chunk import Chunk, EncodedChunk
from dvse.numerics import default_workers
from dvse.onnx_tokenizer import KIND
from dvse.precision import Precision
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.shard import ShardMetadata, encoding_row, shard_schema
from pipelines.filtering.gate import Gate, GatedPreparer
from pipelines.sources.kinds import MEDIA, extension
from pipelines.sources.loading import Loaded
from pipelines.steps.step import DeviceWork, Step, StepDescription

_RESAMPLING = "torchaudio.transforms"


@dataclass(frozen=True, kw_only=True)
class TokenizeStep(Step):
    """Tokenise with a bundle.

    Attributes:
        bundle: shipped name, directory or Hub id.
        threads: threads of the encoders on a CPU; by default all usable processors.
        precision: what the encoders compute in.
        batch_tokens: the most tokens of a forward pass; by default the tokenizers decide.
        gate: filters that inputs have to pass before they are encoded.
    """

    bundle: str
    threads: int | None = None
    precision: Precision = "float32"
    batch_tokens: int | None = None
    gate: Gate | None = None
    name = "tokenize"

    def identity(self) -> dict[str, Any]:
        """Return the fingerprints of the bundle and its vocabulary."""
        bundle = Bundle.open(find_bundle(self.bundle))
        return {
            "step": self.name,
            "bundle": bundle.name,
            "bundle_fingerprint": bundle.fingerprint,
            "vocabulary_fingerprint": bundle.vocabulary.fingerprint,
        }

    def notes(self) -> dict[str, Any]:
        """Return how the bundle was named, so that `dvse verify` finds it again."""
        folder = Path(self.bundle)
        return {"bundle_given": str(folder.absolute()) if folder.is_dir() else self.bundle}

    def quick_profile(self, device: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of it without torch, which takes seconds to import."""
        return {
            "device": device.partition(":")[0],
            "precision": self.precision,
            "batch_tokens": self.batch_tokens,
            "threads": default_workers() if self.threads is None else self.threads,
            "versions": {name: _version(name) for name in recorded.get("versions", {})},
        }

    def worker_modules(self, inputs: Sequence[str]) -> Sequence[str]:
        """Return what resamples recordings, but where a bundle does so without torch."""
        if not any(MEDIA.get(extension(name)) == "audio" for name in inputs):
            return ()
        audio = Bundle.open(find_bundle(self.bundle)).sections.get("audio")
        return () if audio is None or audio.spec.get("kind") == KIND else (_RESAMPLING,)

    def open(self, device: str) -> "TokenizeWork":
        """Load the tokenizer."""
        from dvse.tokenizer import load

        tokenizer = load(
            self.bundle,
            device=device,
            threads=self.threads,
            precision=self.precision,
            batch_tokens=self.batch_tokens,
        )
        return TokenizeWork(tokenizer, self.gate)


class TokenizeWork(DeviceWork):
    """A tokenizer on a device."""

    def __init__(self, tokenizer: Any, gate: Gate | None = None) -> None:
        self.tokenizer, self._gate = tokenizer, gate
        self._id_dtype = tokenizer.vocabulary.id_dtype

    def describe(self) -> StepDescription:
        """Return the columns of a token shard and the fingerprints."""
        t, gate = self.tokenizer, self._gate
        return StepDescription(
            schema=shard_schema(self._id_dtype),
            metadata=ShardMetadata.of(t).to_schema_metadata(),
            profile=t.profile.to_dict(),
            preparer=t.preparer if gate is None else GatedPreparer(preparer=t.preparer, gate=gate),
        )

    def encode(self, chunks: Sequence[Chunk]) -> list[EncodedChunk]:
        """Return the codes of each chunk."""
        return self.tokenizer.encode_chunks(chunks)

    def batch_rows(self, chunk: Chunk) -> int:
        """Return the rows of the forward pass that the chunk will be in."""
        return self.tokenizer.batch_rows(chunk)

    def rows(self, inputs: Sequence[tuple[Loaded, list[EncodedChunk]]]) -> list[dict[str, Any]]:
        """Return the rows of a token shard."""
        return [self._row(loaded, encoded) for loaded, encoded in inputs]

    def _row(self, loaded: Loaded, encoded: list[EncodedChunk]) -> dict[str, Any]:
        encoding = self.tokenizer.assemble(encoded)
        return encoding_row(
            encoding,
            id=loaded.id,
            source=loaded.source,
            sha256=loaded.sha256,
            text=loaded.text,
            loss_mask=None if loaded.is_answer is None else encoding.mask(loaded.is_answer),
            id_dtype=self._id_dtype,
        )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
