import numpy as np

from pipelines.evaluation.text_quality import text_figures


class Characters:
    """One token a character; forgets capitals, and knows no z."""

    def encode(self, text):
        return np.array([0 if c == "z" else ord(c) for c in text.lower()])

    def decode(self, ids):
        return "".join(chr(i) for i in ids)

    def piece(self, token_id):
        return "<unk>" if token_id == 0 else "<0x21>" if token_id == 33 else chr(token_id)


def test_figures_of_a_small_tokenizer():
    figures = text_figures(Characters(), ["né!", "Ab", "z"])
    assert figures == {
        "texts": 3,
        "bytes": 7,
        "tokens": 6,
        "bytes_per_token": round(7 / 6, 3),
        "unknown": 1,
        "byte_tokens": round(1 / 6, 5),
        "round_trip_failures": 2,
    }
