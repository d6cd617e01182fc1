import json
import random

import pytest

import dvse
from dvse.errors import InputError
from pipelines.answering.legal_tokens import LegalTokens
from pipelines.server.answers.json_constraint import JsonConstraints

SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["cat", "狗"]}, "count": {"type": "integer"}},
    "required": ["animal", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny")


@pytest.fixture(scope="module")
def legal(tokenizer):
    return LegalTokens(tokenizer.vocabulary, vocab_size=tokenizer.vocabulary.size)


@pytest.fixture(scope="module")
def constraints(tokenizer, legal):
    return JsonConstraints(tokenizer.text, legal)


def wander(constraint, legal, tokenizer, seed):
    """Any allowed token, until only ending is allowed."""
    rng, ids = random.Random(seed), []
    while len(ids) < 400:
        allowed = constraint.allowed().nonzero().flatten().tolist()
        assert allowed
        token = rng.choice(allowed)
        if token in legal.stop_ids:
            break
        ids.append(token)
        constraint.push(token)
    return tokenizer.text.decode(ids)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_chosen_fits_the_schema(constraints, legal, tokenizer, seed):
    found = json.loads(wander(constraints.for_schema(SCHEMA), legal, tokenizer, seed))
    assert found["animal"] in ("cat", "狗") and isinstance(found["count"], int)
    assert set(found) == {"animal", "count"}


def test_ids_of_media_and_specials_are_never_allowed(constraints, legal, tokenizer):
    allowed = constraints.for_schema(None).allowed()
    assert not allowed[tokenizer.text.size :].any()
    assert allowed[tokenizer.text.encode("{")[0]]


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://example.com/x"}])
def test_a_schema_that_cannot_be_followed_is_refused(constraints, schema):
    with pytest.raises(InputError, match="response_format"):
        constraints.for_schema(schema)
