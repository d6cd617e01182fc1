"""The server under a path of another one: nginx before it, one that cuts the path off, one not."""

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import closing, contextmanager
from socket import create_server

import httpx
import openai
import pytest
from fastapi.testclient import TestClient
from taught_model import HELLO_ANSWER

from dvse.errors import ConfigError
from pipelines.server.app import create_app
from pipelines.server.settings import ListeningSettings, ServerSettings

_NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_max_body_size 30m; proxy_buffering off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  proxy_http_version 1.1; proxy_set_header Host $host;
  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
  server {{ listen 127.0.0.1:{cutting}; location /dvse/ {{ proxy_pass {server}/; }} }}
  server {{ listen 127.0.0.1:{passing}; location /dvse {{ proxy_pass {server}; }} }}
}}
"""


def unloaded(**listening):
    """An app whose model never comes; it answers 503 to whoever is let in."""

    def load():
        raise ConfigError("no model here")

    settings = ServerSettings(api_keys=("k",), listening=ListeningSettings(**listening))
    return TestClient(create_app(load, settings), raise_server_exceptions=False)


@pytest.mark.parametrize("path", ["/v1/models", "/dvse/v1/models", "/dvse/dvse/v1/models"])
def test_no_spelling_of_a_path_gets_around_the_key(path):
    with unloaded(root_path="/dvse") as client:
        assert client.get(path).status_code in (401, 404)
        found = client.get(path, headers={"Authorization": "Bearer k"})
        assert found.status_code == (404 if path.startswith("/dvse/dvse") else 503)


def test_the_page_is_found_with_its_slash():
    with unloaded(root_path="/dvse") as client:
        found = client.get("/dvse", follow_redirects=False)
        assert (found.status_code, found.headers["location"]) == (307, "/dvse/")
        assert client.get("/dvse/page/app.js").status_code == 200
        assert client.get("/page/app.js").status_code == 200
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/dvse"}]


@pytest.mark.parametrize("path", ["dvse", "/v1", "/v1/x", "/a b", "/a//b"])
def test_paths_that_are_none(path):
    with pytest.raises(ConfigError, match="--root-path"):
        ListeningSettings(root_path=path)


@contextmanager
def nginx(server, folder):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx here")
    with (
        closing(create_server(("127.0.0.1", 0))) as a,
        closing(create_server(("127.0.0.1", 0))) as b,
    ):
        ports = a.getsockname()[1], b.getsockname()[1]
    text = _NGINX.format(folder=folder, server=server, cutting=ports[0], passing=ports[1])
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    try:
        for port in ports:
            for _ in range(100):
                assert process.poll() is None
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/dvse/health").close()
                    break
                except OSError:
                    time.sleep(0.1)
        yield [f"http://127.0.0.1:{port}/dvse" for port in ports]
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_nginx_before_it(taught_model, tmp_path):
    from server_process import running, serve_command
    from websockets.sync.client import connect

    command = serve_command(taught_model, "--root-path", "/dvse/", "--served-model-name", "m")
    (tmp_path / "nginx").mkdir()
    with running(command, tmp_path / "log") as server, nginx(server, tmp_path / "nginx") as places:
        for place in places:
            page = httpx.get(place + "/")
            assert page.status_code == 200 and 'src="page/app.js"' in page.text
            assert httpx.get(place + "/page/app.js").status_code == 200
            docs = httpx.get(place + "/docs").text
            assert "/dvse/openapi.json" in docs
            for link in ("swagger-ui.css", "swagger-ui-bundle.js"):
                (found,) = {part for part in docs.split('"') if part.endswith(link)}
                assert httpx.get(place.removesuffix("/dvse") + found).status_code == 200, found
            with openai.OpenAI(base_url=place + "/v1", api_key="k", max_retries=0) as client:
                asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
                stream = client.chat.completions.create(**asked, temperature=0, stream=True)
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
                assert "".join(pieces) == HELLO_ANSWER and len(pieces) > 4
                with pytest.raises(openai.NotFoundError):
                    client.chat.completions.create(**(asked | {"model": "none"}))
            with connect(place.replace("http", "ws") + "/v1/realtime/tokens") as socket:
                socket.send(json.dumps({"type": "start", "sample_rate_hz": 8000}))
                assert json.loads(socket.recv())["type"] == "started"
                socket.send(bytes(16_000))
                socket.send(json.dumps({"type": "end"}))
                kinds = [json.loads(message)["type"] for message in socket]
                assert kinds[-1] == "done"
