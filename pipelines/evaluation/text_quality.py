"""What a text tokenizer makes of texts: bytes per token, unknowns, round trips."""

from collections.abc import Iterable
from typing import Any

from dvse.text.tokenizer import TextTokenizer

_UNKNOWN = {"<unk>", "[UNK]", "<|unk|>"}


def text_figures(tokenizer: TextTokenizer, texts: Iterable[str]) -> dict[str, Any]:
    """Return the figures over texts.

    `byte_tokens` is the share of tokens that stand for a single byte, because no piece fitted.
    """
    num_bytes = num_tokens = unknown = byte_tokens = failures = num_texts = 0
    for text in texts:
        ids = tokenizer.encode(text)
        num_texts, num_bytes, num_tokens = (
            num_texts + 1,
            num_bytes + len(text.encode()),
            num_tokens + len(ids),
        )
        pieces = [tokenizer.piece(int(i)) for i in ids]
        unknown += sum(piece in _UNKNOWN for piece in pieces)
        byte_tokens += sum(piece.startswith("<0x") for piece in pieces)
        failures += tokenizer.decode(ids) != text
    return {
        "texts": num_texts,
        "bytes": num_bytes,
        "tokens": num_tokens,
        "bytes_per_token": round(num_bytes / max(num_tokens, 1), 3),
        "unknown": unknown,
        "byte_tokens": round(byte_tokens / max(num_tokens, 1), 5),
        "round_trip_failures": failures,
    }
