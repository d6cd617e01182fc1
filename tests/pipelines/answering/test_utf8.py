"""What may follow what, against Python's own decoder; and a decoder that wants broken bytes."""

import random

import pytest
import torch

import dvse
from dvse.vocabulary import Vocabulary
from pipelines.answering.legal_answer import LegalAnswer
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.answering.utf8 import WHOLE, Utf8Pieces

BYTES = [bytes([value]) for value in range(256)]
SINGLE = Utf8Pieces(BYTES, vocab_size=256)


BEGINNINGS = {
    chr(point).encode()[:end]
    for point in range(0x110000)
    if not 0xD800 <= point < 0xE000
    for end in range(1, 1 + len(chr(point).encode()))
}
"""Of every character there is, whole ones too."""


def can_go_on(data: bytes) -> bool:
    """Whether a character begins with these bytes; Python's decoder finds surrogates too late."""
    return data in BEGINNINGS


def is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_every_byte_agrees_with_pythons_decoder():
    """All beginnings of characters, each with all 256 bytes that might come."""
    beginnings, seen = [(b"", WHOLE)], 0
    while beginnings:
        data, state = beginnings.pop()
        for byte in range(256):
            longer = data + bytes([byte])
            assert bool(SINGLE.allowed[state, byte]) == can_go_on(longer), longer
            if not can_go_on(longer):
                continue
            seen += 1
            behind = SINGLE.after(state, byte)
            assert (behind == WHOLE) == is_whole(longer), longer
            # The last two bytes of four all go the same way: one of each lead suffices.
            if behind != WHOLE and (len(longer) < 3 or byte in (0x80, 0x8F, 0x90, 0xBF)):
                beginnings.append((longer, behind))
    assert seen > 10_000


def test_pieces_may_begin_and_end_within_characters():
    cat, face = "猫".encode(), "😀".encode()
    pieces = [b"a", cat[:2], cat[2:] + face[:1], face[1:], face[1:3], face[3:] + b"!", cat]
    utf8 = Utf8Pieces(pieces, vocab_size=9)
    state, told = WHOLE, b""
    for token_id in (1, 2, 4, 5, 6, 1, 2, 3, 0):
        assert utf8.allowed[state, token_id]
        assert not (state != WHOLE and utf8.allowed[state, [7, 8]].any()), "no mark within one"
        state, told = utf8.after(state, token_id), told + pieces[token_id]
    assert state == WHOLE and told.decode() == "猫😀!猫猫😀a"
    assert not utf8.allowed[WHOLE, [2, 3, 4, 5]].any()


def test_no_character_is_begun_that_these_pieces_cannot_end():
    utf8 = Utf8Pieces([b"a", b"\xf0", b"\xe7", b"\x85"], vocab_size=5)
    assert utf8.allowed[WHOLE].tolist() == [True, False, True, False, True]
    assert b"\xe7\x85\x85".decode() == "\u7145"  # and F0 wants 90 at least


def test_a_batch_of_answers_has_the_states_of_each():
    rng = random.Random(0)
    rows = []
    for _ in range(200):
        state, row = WHOLE, []
        for _ in range(12):
            row.append(rng.choice(SINGLE.allowed[state].nonzero().flatten().tolist()))
            state = SINGLE.after(state, row[-1])
        rows.append(row)
    for length in range(13):
        expected = []
        for row in rows:
            state = WHOLE
            for token_id in row[:length]:
                state = SINGLE.after(state, token_id)
            expected.append(state)
        found = SINGLE.states(torch.tensor([row[:length] for row in rows], dtype=torch.long))
        assert found.tolist() == expected


@pytest.mark.parametrize("thinking", [False, True])
def test_random_scores_never_break_a_character(thinking):
    """Scores that want bytes above all; each answer is read by Python's strict decoder."""
    tiny = dvse.load("tiny")
    size = tiny.vocabulary.size
    legal = LegalTokens.of(tiny, vocab_size=size)
    processor = LegalAnswer(legal, thinking=thinking)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.zeros(size)
    wanted[[i for i in range(8000) if len(tiny.text.piece_bytes(i)) == 1]] = 3.0
    wanted[[*legal.stop_ids, legal.end_think_id]] = 4.0
    rows = torch.zeros(64, 0, dtype=torch.long)
    for _ in range(60):
        scores = wanted + torch.randn(64, size, generator=generator)
        rows = torch.cat([rows, processor(rows, scores).argmax(-1, keepdim=True)], dim=1)
    num_bytes, num_answers = 0, 0
    for row in rows.tolist():
        end = next((n for n, i in enumerate(row) if i in legal.stop_ids), None)
        if end is None:
            continue
        num_answers += 1
        parts, marks = [b""], (legal.think_id, legal.end_think_id)
        for token_id in row[:end]:
            if token_id in marks:
                parts.append(b"")
            else:
                parts[-1] += tiny.text.piece_bytes(token_id)
        for part in parts:
            num_bytes += sum(byte > 0x7F for byte in part)
            part.decode("utf-8", errors="strict")
    assert num_answers > 30 and num_bytes > 100


def test_without_pieces_nothing_is_forbidden():
    legal = LegalTokens(Vocabulary.create(text_size=6), vocab_size=384)
    assert legal.utf8.allowed[WHOLE].all()
