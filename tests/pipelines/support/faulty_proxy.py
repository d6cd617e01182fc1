"""A proxy in front of an HTTP server that does to answers what networks and stores do to them.

500, 503     the server answers so, and has done nothing
403          likewise, with S3's AccessDenied
expired      likewise, with S3's ExpiredToken
skewed       likewise, with what S3 says where clocks differ
cut          half the body, then the connection is gone
slow         the first byte, then nothing for a while
lost         the server has done it, and nobody hears of it
"""

import contextlib
import http.client
import random
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ANSWERS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "403": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
}
_HOPS = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


@dataclass
class Faults:
    """What is to go wrong.

    Attributes:
        planned: [kind, method, part of the path, how often], the first that fits is taken.
        share: of all requests that go wrong by chance, with kinds from `kinds`.
        happened: what has gone wrong: (kind, method, path).
    """

    planned: list = field(default_factory=list)
    share: float = 0.0
    kinds: tuple = ("500", "503", "cut", "lost")
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    slow_s: float = 2.0
    happened: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, kind, method, part="", times=1):
        self.planned.append([kind, method, part, times])

    def next(self, method, path):
        with self.lock:
            kind = self._next(method, path)
            if kind is not None:
                self.happened.append((kind, method, path))
            return kind

    def _next(self, method, path):
        for fault in self.planned:
            kind, of_method, part, times = fault
            if times > 0 and method == of_method and part in path:
                fault[3] -= 1
                return kind
        return self.rng.choice(self.kinds) if self.rng.random() < self.share else None


class FaultyProxy:
    """Runs in a thread of its own; `address` is what clients are told."""

    def __init__(self, host, port):
        self.faults = Faults()
        self.num_requests = 0
        handler = type("Handler", (_Handler,), {"target": (host, port), "proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that was killed is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = proxy = None

    def log_message(self, *args):
        pass

    def _serve(self):
        body = self._body()
        self.proxy.num_requests += 1
        fault = self.proxy.faults.next(self.command, self.path)
        if fault in _ANSWERS:
            status, code = _ANSWERS[fault]
            text = f"<Error><Code>{code}</Code><Message>a test says so</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], text)
            return
        status, headers, data = self._forward(body)
        if fault == "lost":
            self._hang_up()
        elif fault == "cut" and len(data) > 1:
            self._head(status, headers, len(data))
            self.wfile.write(data[: len(data) // 2])
            self._hang_up()
        elif fault == "slow" and data:
            self._head(status, headers, len(data))
            self.wfile.write(data[:1])
            self.wfile.flush()
            time.sleep(self.proxy.faults.slow_s)
            with contextlib.suppress(OSError):
                self.wfile.write(data[1:])
        else:
            self._answer(status, headers, data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _forward(self, body):
        connection = http.client.HTTPConnection(*self.target, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOPS | {"expect"}}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            length = answer.getheader("Content-Length")
            self._length = int(length) if self.command == "HEAD" and length else len(data)
            return answer.status, answer.getheaders(), data
        finally:
            connection.close()

    def _answer(self, status, headers, data):
        length = len(data)
        if self.command == "HEAD":
            length, data = getattr(self, "_length", 0) if status < 300 else 0, b""
        self._head(status, headers, length)
        self.wfile.write(data)

    def _head(self, status, headers, length):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _hang_up(self):
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)
