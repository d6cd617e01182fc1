"""All settings of `dvse train text`, each said once; flags follow."""

from dataclasses import dataclass
from typing import Literal

from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """Everything that decides what `train_text` makes of texts."""

    data: tuple[str, ...] = setting(
        help="files or folders (.txt, .md, .gz, .parquet with a text column), or "
        "hf:NAME?split=train for all that datasets reads; streamed",
        metavar="PATH",
        many="words",
    )
    vocab_size: int = setting(
        8000, "pieces, 256 for single bytes included: no character is unknown"
    )
    model_type: Literal["unigram", "bpe"] = setting("unigram", "how pieces are chosen")
    character_coverage: float = setting(
        0.9995, "share of the text whose characters get a piece of their own"
    )
