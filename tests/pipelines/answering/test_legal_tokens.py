"""The constraint, phase by phase, alone and inside `generate`."""

import pytest
import torch
from small_model import make_decoder
from transformers import LogitsProcessorList

import dvse
from pipelines.answering.legal_answer import LegalAnswer
from pipelines.answering.legal_tokens import LegalTokens, Phase

TINY = dvse.load("tiny")
THINK, END_THINK = TINY.vocabulary.special_id("<think>"), TINY.vocabulary.special_id("</think>")
END, USER = TINY.vocabulary.special_id("<|endoftext|>"), TINY.vocabulary.special_id("<|user|>")
TEXT = set(range(8000))


@pytest.fixture(scope="module")
def legal():
    return LegalTokens(TINY.vocabulary, vocab_size=TINY.vocabulary.size)


def ids_of(row):
    return set(row.nonzero().flatten().tolist())


def test_each_phase_allows_what_the_grammar_says(legal):
    assert ids_of(legal.allowed[Phase.OPENING]) == {THINK}
    assert ids_of(legal.allowed[Phase.REASONING]) == TEXT | {END_THINK}
    assert ids_of(legal.allowed[Phase.FIRST]) == TEXT
    assert ids_of(legal.allowed[Phase.ANSWER]) == TEXT | {END, USER}
    assert sorted(legal.stop_ids) == sorted([END, USER])


def test_specials_inside_the_text_block_are_not_text():
    vocabulary = dvse.Vocabulary.create(text_size=6, text_specials={"<|user|>": 2})
    legal = LegalTokens(vocabulary, vocab_size=384)
    assert ids_of(legal.allowed[Phase.FIRST]) == {0, 1, 3, 4, 5}
    assert 2 in ids_of(legal.allowed[Phase.ANSWER])


def test_phases_of_an_answer(legal):
    answer = [THINK, 5, 6, END_THINK, 7, 8, END]
    phases = [legal.phase(answer[:n], thinking=True) for n in range(len(answer) + 1)]
    assert [p.name for p in phases] == [
        *("OPENING", "REASONING", "REASONING", "REASONING", "FIRST", "ANSWER", "ANSWER", "ANSWER")
    ]
    assert legal.phase([], thinking=False) == Phase.FIRST
    assert legal.phase([7, 8], thinking=False) == Phase.ANSWER


@pytest.mark.parametrize("thinking", [True, False])
def test_the_processor_agrees_with_the_table_row_by_row(legal, thinking):
    answers = {
        True: [[THINK, 1, 2, END_THINK, 4], [THINK, 1, END_THINK, 4, END], [THINK, 1, 2, 3, 4]],
        False: [[1, 2, 3, 4, 5], [9, 9, END, END, END]],
    }[thinking]
    for length in range(6):
        processor = LegalAnswer(legal, thinking=thinking)
        rows = torch.tensor([answer[:length] for answer in answers], dtype=torch.long)
        out = processor(rows, torch.zeros(len(rows), TINY.vocabulary.size))
        for row, answer in zip(out, answers, strict=True):
            expected = legal.allowed[legal.phase(answer[:length], thinking=thinking)]
            assert torch.equal(torch.isfinite(row), expected)
            assert row[expected].eq(0).all()


@pytest.mark.parametrize("thinking", [True, False])
def test_a_random_decoder_writes_only_legal_tokens(legal, thinking):
    """Untrained weights want picture codes and role markers most of the time."""
    torch.manual_seed(1)
    model = make_decoder()
    prompt = torch.randint(0, 9480, (6, 12))
    processors = LogitsProcessorList(
        [LegalAnswer(legal, thinking=thinking)],
    )
    with torch.no_grad():
        free = model.generate(prompt, do_sample=True, max_new_tokens=40)[:, 12:]
        out = model.generate(
            inputs_embeds=model.get_input_embeddings()(prompt),
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            max_new_tokens=40,
            eos_token_id=legal.stop_ids,
            pad_token_id=END,
            logits_processor=processors,
        )
    assert (free >= 8000).any()
    for row in out.tolist():
        phase = legal.phase([], thinking=thinking)
        for token_id in row:
            assert legal.allowed[phase, token_id]
            phase = legal.after(phase, token_id)
            if token_id in legal.stop_ids:
                break
