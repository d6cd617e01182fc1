"""Runs of audio codes as `dvse train bpe` leaves them, in a folder of their own.

    runs.json     {"format", "format_version", "codes_sha256", "num_codes", "runs", "metrics",
                   "provenance"}

`dvse build-bundle --bpe` takes them into a bundle: the runs into its vocabulary, figures and origin
into its audio section. They belong to the codes that they were learnt on, which a hash names.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvse.audio.hub_weights import weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.code_runs import CodeRuns
from dvse.errors import (
    BundleFormatError,
    BundleNotFoundError,
    IdRangeError,
    VocabularyError,
)

FORMAT, FORMAT_VERSION, FILE = "dvse-runs", 1, "runs.json"


@dataclass(frozen=True, kw_only=True)
class LearntRuns:
    """What `runs.json` says.

    Attributes:
        num_codes: of the codebook.
        codes_sha256: which one, see `codes_sha256`.
        runs: those of the bundle it was learnt with first.
        metrics, provenance: how much shorter held-out recordings become, and what it learnt from.
    """

    num_codes: int
    codes_sha256: str
    runs: tuple[tuple[int, ...], ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `runs.json` into the folder."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "LearntRuns":
        """Read what `save` wrote.

        Raises:
            BundleNotFoundError: no `runs.json` there.
            BundleFormatError: something else, or runs that are none.
        """
        path = Path(folder) / FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BundleNotFoundError(
                f"{path}: expected a folder written by dvse train bpe; there is no {FILE}"
            ) from None
        except ValueError as error:
            raise BundleFormatError(f"{path}: expected JSON; {error}") from None
        if not isinstance(document, dict):
            document = {}
        said = document.pop("format", None), document.pop("format_version", None)
        if said != (FORMAT, FORMAT_VERSION):
            raise BundleFormatError(
                f"{path}: expected format {FORMAT!r} of version {FORMAT_VERSION}, received "
                f"{said[0]!r} of version {said[1]!r}"
            )
        try:
            runs = CodeRuns(num_codes=document["num_codes"], runs=document["runs"]).runs
            return cls(**{**document, "runs": runs})
        except (KeyError, TypeError, ValueError, VocabularyError) as error:
            raise BundleFormatError(
                f"{path}: expected num_codes, codes_sha256, runs, metrics and provenance; {error}"
            ) from None

    def check(self, audio: AudioTokenizer) -> None:
        """See that the codes of a tokenizer mean what they meant when this was learnt.

        Raises:
            VocabularyError: they do not.
        """
        fits = audio.num_codes >= self.num_codes and audio.num_levels == 1
        if not fits or codes_sha256(audio, self.num_codes) != self.codes_sha256:
            raise VocabularyError(
                f"these runs were learnt on another codebook, of {self.num_codes} codes; learn "
                "them on tokens of this bundle: dvse train bpe"
            )


def codes_sha256(audio: AudioTokenizer, num_codes: int) -> str:
    """Return a hash of the centroids of the first codes; of a codec's weights, where it has none.

    Raises:
        IdRangeError: a draft, or fewer codes.
    """
    if audio.codebook is None:
        return weights_sha256(audio.encoder.model)
    if audio.num_codes < num_codes:
        raise IdRangeError(f"expected {num_codes} codes, received {audio.num_codes}")
    centroids = audio.codebook.centroids[0, :num_codes].cpu().numpy()
    return hashlib.sha256(centroids.tobytes()).hexdigest()
