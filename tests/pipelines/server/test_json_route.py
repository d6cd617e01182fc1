"""JSON as Python reads it, only sooner, and faults where Python finds them."""

import base64
import json
import random

import pytest

from pipelines.server.errors import ApiError
from pipelines.server.routes.json_route import parse_json

BODIES = [
    b'{"a": 1, "a": 2}',
    b'{"a": [1.5, -0, 1e400, NaN, null, true, "\\u00e9\\n"], "": {}}',
    b'{"a": "\\ud800"}',
    '{"a": "é"}'.encode("utf-16"),
    b"12345678901234567890123",
    b" [] ",
]


@pytest.mark.parametrize("body", BODIES)
def test_values_are_those_of_python(body):
    assert repr(parse_json(body)) == repr(json.loads(body))


@pytest.mark.parametrize("filler", [0, 2_000_000])
@pytest.mark.parametrize("tail", [b'"b":}', b'"b" 1}', b'"b":1,}', b'"b":1', b'"b":1}}'])
def test_faults_are_where_python_finds_them(tail, filler):
    body = b'{"a": "' + b"x" * filler + b'",\n  ' + tail
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(body)
    with pytest.raises(json.JSONDecodeError) as found:
        parse_json(body)
    assert found.value.lineno == expected.value.lineno == 2
    assert abs(found.value.colno - expected.value.colno) <= 1


def test_a_large_picture_is_read_without_pythons_parser(monkeypatch):
    """What that saves is a figure (`make bench ONLY=server.health`): it differs by machine."""
    picture = base64.b64encode(random.Random(0).randbytes(12_000_000)).decode()
    body = json.dumps({"url": f"data:image/png;base64,{picture}"}).encode()

    def refuse(*_args, **_settings):
        raise AssertionError("Python's parser read a large body")

    monkeypatch.setattr(json, "loads", refuse)
    monkeypatch.setattr(json, "JSONDecoder", refuse)
    assert parse_json(body) == {"url": f"data:image/png;base64,{picture}"}


def test_nesting_and_millions_of_values_are_refused():
    with pytest.raises(RecursionError):
        parse_json(b"[" * 200_000)
    with pytest.raises(ApiError, match="at most 500,000 values"):
        parse_json(b"[" + b"[]," * 600_000 + b"[]]")
