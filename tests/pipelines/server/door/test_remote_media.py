"""Fetching for strangers: what is refused, against a server of our own."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dvse.errors import InputError
from pipelines.server.door.remote_media import RemoteMedia, is_public


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/picture":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"pixels")
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.send_error(404)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def remote(*hosts, **fields):
    options = {"timeout_s": 1.0, "max_bytes": 1000, "is_allowed_address": lambda address: True}
    return RemoteMedia(hosts, **{**options, **fields})


def test_an_allowed_host_is_fetched(host):
    assert remote(host).fetch(f"http://{host}/picture") == b"pixels"


def test_a_redirect_is_followed_through_the_same_door(host):
    assert remote(host).fetch(f"http://{host}/to?/picture") == b"pixels"
    with pytest.raises(InputError, match="not fetched here"):
        remote(host).fetch(f"http://{host}/to?http://169.254.169.254/latest")
    with pytest.raises(InputError, match="not fetched here"):
        remote(host).fetch(f"http://{host}/to?file:///etc/passwd")
    with pytest.raises(InputError, match="redirects"):
        remote(host).fetch(f"http://{host}/to?/to?/to?/to?/to?/picture")


def test_loopback_is_refused_however_it_is_written(host):
    port = host.partition(":")[2]
    for name in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "127.1"):
        allowed = f"{name.strip('[]')}:{port}"
        with pytest.raises(InputError, match=r"not a public address|does not answer|not known"):
            RemoteMedia([allowed], timeout_s=1.0, max_bytes=10).fetch(
                f"http://{name}:{port}/picture"
            )


def test_another_host_port_or_scheme_is_refused(host):
    for url in ("http://example.com/a.png", f"ftp://{host}/a", f"http://{host}1/a", "http://", "x"):
        with pytest.raises(InputError):
            remote(host).fetch(url)


def test_size_time_and_status_are_bounded(host):
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        remote(host).fetch(f"http://{host}/large")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 0\.3 s|could not be fetched"):
        remote(host, timeout_s=0.3).fetch(f"http://{host}/slow")
    assert time.monotonic() - started < 1.5
    with pytest.raises(InputError, match="answered 404"):
        remote(host).fetch(f"http://{host}/nothing")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "224.0.0.1",
    ],
)
def test_private_addresses_are_not_public(address):
    assert not is_public(address)
