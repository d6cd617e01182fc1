"""A filter on the language of captions and texts (extra `filters`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dvse.errors import ConfigError, MissingExtraError
from pipelines.filtering.row_filter import Refusal, RowFilter
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class LanguageFilter(RowFilter):
    """Captions and texts that are surely in another language (py3langid).

    py3langid (Lui and Baldwin 2012) gives the probabilities; its model is part of its package.
    Rows without text pass, and so do texts that may be in any language: `IMG_2034`, `a cat`.

    Raises:
        MissingExtraError: py3langid is not installed.
    """

    name: ClassVar[str] = "language"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    allowed: tuple[str, ...] = setting(help="ISO 639-1 codes, such as ['en', 'de']")
    most: float = setting(0.5, "probability of another language above which a text is refused")
    least_letters: int = setting(10, "texts of fewer letters pass")
    _identifier: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError:
            raise MissingExtraError.for_extra("py3langid", "filters") from None
        made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = sorted(made.labels)
        if not self.allowed or (unknown := sorted(set(self.allowed) - set(known))):
            what = f"received {unknown}" if self.allowed else "received none"
            raise ConfigError(
                f"[{self.name}]: expected allowed to name some of {', '.join(known)}, {what}"
            )
        if not 0 < self.most < 1:
            raise ConfigError(f"[{self.name}]: expected most in 0..1, received {self.most}")
        object.__setattr__(self, "_identifier", made)

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Ask for the probabilities of all languages."""
        text = row["text"] or ""
        if sum(map(str.isalpha, text)) < self.least_letters:
            return None
        name, share = next(
            pair for pair in self._identifier.rank(text) if pair[0] not in self.allowed
        )
        if share <= self.most:
            return None
        return Refusal(
            reason=f"{name} with a probability of {share:.1%}, {', '.join(self.allowed)} wanted",
            score=round(share, 4),  # the last digits are the matrix library's
        )
