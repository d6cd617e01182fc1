"""The page's routes and headers."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipelines.server.playground import FOLDER, playground_router


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.include_router(playground_router())
    return TestClient(app)


def test_every_file_that_the_page_names_is_served(client):
    texts = {"index.html": client.get("/").text}
    found = set(re.findall(r'"page/([\w.]+)', texts["index.html"]))
    assert {"app.js", "style.css", "icon.svg"} <= found
    seen: set[str] = set()
    while new := found - seen:
        for name in new:
            answer = client.get(f"/page/{name}")
            assert answer.status_code == 200, name
            assert answer.content == (FOLDER / name).read_bytes()
            found |= set(re.findall(r'from "\./([\w.]+)"', answer.text))
            found |= set(re.findall(r'new URL\("([\w.]+)"', answer.text))
        seen |= new
    assert seen | {"index.html"} == {path.name for path in FOLDER.iterdir()}


def test_nothing_is_fetched_from_elsewhere():
    for path in FOLDER.iterdir():
        addresses = re.findall(r"https?://[^\"' )]+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path.name


def test_headers(client):
    for path in ("/", "/page/app.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/page/app.js").headers["content-type"].startswith("text/javascript")


def test_a_page_that_has_not_changed_is_not_sent_again(client):
    etag = client.get("/").headers["etag"]
    again = client.get("/", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert again.content == b""
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


def test_head(client):
    answer = client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("name", ["nothing.js", "..%2fplayground.py", "%2e%2e%2fplayground.py"])
def test_nothing_else_is_served(client, name):
    assert client.get(f"/page/{name}").status_code == 404


def test_not_in_the_api_description(client):
    assert client.get("/openapi.json").json()["paths"] == {}
