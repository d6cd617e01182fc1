"""Whatever a model chooses under a constraint keeps to the form; `jsonschema` is the judge."""

import json
import random

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Steps
from hypothesis import strategies as st

import dvse
from dvse.errors import InputError
from pipelines.answering.legal_tokens import LegalTokens, Phase
from pipelines.server.answers.answer_form import CallableFunction, CallForm, JsonForm
from pipelines.server.answers.closed_schema import closed
from pipelines.server.answers.constraints import Constraints
from pipelines.server.answers.endless_schema import is_endless
from pipelines.server.answers.tool_calls import read_reply

SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["cat", "狗"]}, "count": {"type": "integer"}},
    "required": ["animal", "count"],
    "additionalProperties": False,
}
WEATHER = CallableFunction(
    name="weather",
    parameters={
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "$defs": {"city": {"enum": ["Graz", "Wien"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny")


@pytest.fixture(scope="module")
def legal(tokenizer):
    return LegalTokens(tokenizer.vocabulary, vocab_size=tokenizer.vocabulary.size)


@pytest.fixture(scope="module")
def constraints(tokenizer, legal):
    return Constraints(tokenizer.text, legal)


def wander(constraint, legal, tokenizer, seed, most=400):
    """Any allowed token, ending as soon as that is allowed; `None` where it takes too long."""
    rng, ids = random.Random(seed), []
    while len(ids) < most:
        allowed = (constraint.allowed() & legal.allowed[Phase.ANSWER]).nonzero().flatten().tolist()
        assert allowed, tokenizer.text.decode(ids)
        stops = set(allowed) & set(legal.stop_ids)
        token = stops.pop() if stops else rng.choice(allowed)
        if token in legal.stop_ids:
            return tokenizer.text.decode(ids)
        ids.append(token)
        constraint.push(token)
    return None


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_chosen_fits_the_schema(constraints, legal, tokenizer, seed):
    (constraint,) = constraints.compile(JsonForm(schema=SCHEMA), 1)
    found = json.loads(wander(constraint, legal, tokenizer, seed))
    assert found["animal"] in ("cat", "狗") and isinstance(found["count"], int)
    assert set(found) == {"animal", "count"}


def test_ids_of_media_and_specials_are_never_allowed(constraints, tokenizer):
    allowed = constraints.compile(JsonForm(schema={"type": "object"}), 1)[0].allowed()
    assert not allowed[tokenizer.text.size :].any()
    assert allowed[tokenizer.text.encode("{")[0]]


def test_answers_of_one_request_do_not_share_their_state(constraints, tokenizer):
    one, other = constraints.compile(JsonForm(schema=SCHEMA), 2)
    before = other.allowed()
    one.push(int(tokenizer.text.encode("{")[0]))
    assert (other.allowed() == before).all() and (one.allowed() != before).any()


ENDLESS = [
    {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    {"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["x"]},
    {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": n} for n in (1, 2)]},
    {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
            "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
        },
    },
]
ENDING = [
    {"type": "object", "properties": {"next": {"$ref": "#"}}},
    {"type": "array", "items": {"$ref": "#"}},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "null"}]},
    {"type": ["object", "null"], "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
]


@pytest.mark.parametrize("schema", ENDLESS, ids=json.dumps)
def test_a_schema_that_never_ends_is_refused(constraints, schema):
    with pytest.raises(InputError, match="response_format: nothing that ends"):
        constraints.compile(JsonForm(schema=schema), 1)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}], "$defs": {"x": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#/items"}},
    ],
    ids=json.dumps,
)
def test_a_schema_that_is_defined_as_itself_is_refused(constraints, schema):
    with pytest.raises(InputError, match="response_format"):
        constraints.compile(JsonForm(schema=schema), 1)


@pytest.mark.parametrize("schema", ENDING, ids=json.dumps)
def test_recursion_with_a_way_out_is_no_fault(schema):
    assert not is_endless(schema)


def test_objects_keep_to_what_their_schema_names_unless_it_says_more():
    point = {"type": "object", "properties": {"x": {"type": "integer"}}}
    shut = point | {"additionalProperties": False}
    assert closed({"type": "array", "items": point}) == {"type": "array", "items": shut}
    assert closed({"$defs": {"p": point}, "$ref": "#/$defs/p"})["$defs"]["p"] == shut
    # A property may be called like a word of JSON Schema, and data are no schemas.
    named = {"type": "object", "properties": {"properties": point, "y": {"const": point}}}
    assert closed(named)["properties"] == {"properties": shut, "y": {"const": point}}
    for open_schema in (
        point | {"additionalProperties": {"type": "integer"}},
        point | {"required": ["x", "y"]},
        point | {"minProperties": 2},
        {"allOf": [point, {"properties": {"y": {"type": "integer"}}}]},
        {"type": "object"},
    ):
        assert closed(open_schema) == open_schema


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://example.com/x"}])
def test_a_schema_that_cannot_be_followed_is_refused(constraints, schema):
    with pytest.raises(InputError):
        constraints.compile(JsonForm(schema=schema), 1)


@pytest.mark.parametrize("is_parallel", [True, False])
def test_required_calls_can_be_read(constraints, legal, tokenizer, is_parallel):
    form = CallForm(
        functions=[WEATHER, CallableFunction(name="time")],
        is_required=True,
        is_parallel=is_parallel,
    )
    names = set()
    for seed, constraint in enumerate(constraints.compile(form, 8)):
        reply = read_reply(wander(constraint, legal, tokenizer, seed))
        assert reply.text == "" and len(reply.calls) == 1
        call = reply.calls[0]
        names.add(call.name)
        if call.name == "weather":
            assert json.loads(call.arguments)["city"] in ("Graz", "Wien")
        else:
            assert json.loads(call.arguments) == {}
    assert names == {"weather", "time"}


def test_text_beside_calls_never_looks_like_one(constraints, tokenizer):
    def ends(text):
        (constraint,) = constraints.compile(CallForm(functions=[WEATHER]), 1)
        for token in tokenizer.text.encode(text).tolist():
            if not constraint.allowed()[token]:
                return False
            constraint.push(token)
        return True

    assert ends("Hello <tool> you")
    assert ends('<tool_call>{"name": "weather", "arguments": {"city":"Graz"}}</tool_call>')
    assert not ends("Hello <tool_call>{}")
    assert not ends('<tool_call>{"name": "no", "arguments": {}}</tool_call>')


LEAVES = st.sampled_from(
    [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer", "minimum": -3, "maximum": 40},
        {"type": "string", "maxLength": 3},
        {"enum": ["a", 1, None]},
        {"const": "语"},
        {"$ref": "#"},
        {"$ref": "#/$defs/x"},
        {"type": "integer", "minimum": 5, "maximum": 3},
        True,
        False,
    ]
)


def _branches(children):
    names = st.sampled_from(["a", "b", "c"])
    objects = st.builds(
        lambda properties, required, closed: {
            "type": "object",
            "properties": properties,
            "required": sorted(required & set(properties)),
            "additionalProperties": closed,
        },
        st.dictionaries(names, children, max_size=3),
        st.sets(names),
        st.sampled_from([False, True, {"type": "integer"}]),
    )
    arrays = st.builds(
        lambda items, least: {"type": "array", "items": items, "minItems": least, "maxItems": 3},
        children,
        st.integers(0, 2),
    )
    unions = st.builds(lambda parts: {"anyOf": parts}, st.lists(children, min_size=1, max_size=3))
    return objects | arrays | unions


SCHEMAS = st.builds(
    lambda root, x: {**root, "$defs": {"x": x}} if isinstance(root, dict) else {"const": 0},
    st.recursive(LEAVES, _branches, max_leaves=6),
    st.recursive(LEAVES, _branches, max_leaves=3),
)


@settings(
    max_examples=60,
    phases=[Steps.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(schema=SCHEMAS, seed=st.integers(0, 9))
def test_made_up_schemas_are_kept_to_or_refused(constraints, legal, tokenizer, schema, seed):
    try:
        (constraint,) = constraints.compile(JsonForm(schema=schema), 1)
    except InputError:
        return
    found = wander(constraint, legal, tokenizer, seed, most=60)
    if found is not None:
        jsonschema.validate(json.loads(found), schema)
