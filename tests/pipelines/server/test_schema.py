"""Requests that schemathesis makes up from `/openapi.json`: no answer that was not announced."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")

_OPERATIONS = (
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/v1/introductions/{name}"),
    ("POST", "/v1/verify"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/multimodal/completions"),
    ("POST", "/v1/tokenize"),
    ("POST", "/v1/detokenize"),
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
)
_LIMITS = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/multimodal/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}


@pytest.fixture(scope="module")
def api(taught_server):
    return schemathesis.openapi.from_url(f"{taught_server}/openapi.json")


def test_these_are_all_operations(api):
    assert sorted((o.method.upper(), o.path) for o in operations(api)) == sorted(_OPERATIONS)


@pytest.mark.parametrize(("method", "path"), _OPERATIONS, ids=lambda part: part.strip("/"))
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_one_that_the_description_announces(api, method, path, mode):
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    (operation,) = [o for o in operations(api) if (o.method.upper(), o.path) == (method, path)]
    wanted = GenerationMode.POSITIVE if mode == "positive" else GenerationMode.NEGATIVE
    if mode == "negative" and method == "GET":
        pytest.skip("nothing can be wrong about it")

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=wanted))
    def ask(case):
        # What was made wrong on purpose stays wrong: only a name that could be one is exchanged.
        model = case.body.get("model") if isinstance(case.body, dict) else None
        if isinstance(model, str) and 1 <= len(model) <= 256:
            case.body["model"] = "autoglm-phone-9b"
            # A made-up request is not worth long answers.
            limit = _LIMITS.get(path)
            if limit and (limit not in case.body or type(case.body[limit]) is int):
                case.body[limit] = min(2, case.body.get(limit, 2))
        # All of its checks but one: no description can say that bytes have to be a picture, or that
        # a schema has to have an end, so a request that fits it may well be refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    ask()


def operations(api):
    return [result.ok() for result in api.get_all_operations()]
