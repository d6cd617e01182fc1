"""The door alone, around an app that only reads."""

import asyncio

import pytest

from pipelines.server.door.admission import Admission
from pipelines.server.metrics import Metrics
from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings


class Reader:
    """Reads the whole body; waits while it is told to."""

    def __init__(self):
        self.bodies, self.may_go = [], asyncio.Event()
        self.may_go.set()

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await self.may_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def call(gate, *, headers=(), parts=(b"{}",), path="/v1/tokenize", method="POST"):
    async def one():
        sent, left = [], list(parts)

        async def receive():
            if not left:
                await asyncio.sleep(60)
            body = left.pop(0)
            if isinstance(body, float):
                await asyncio.sleep(body)
                body = b""
            return {"type": "http.request", "body": body, "more_body": bool(left)}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers],
        }
        await gate(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[-1]["body"]

    return one()


def gate(app, **fields):
    settings = ServerSettings(served_names=("m",), **fields)
    return Admission(app, settings, Metrics(lambda: None), ())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer one", 200),
        ("bearer two", 200),
        ("Bearer on", 401),
        ("Bearer onee", 401),
        ("Bearer \xff", 401),
        ("Basic one", 401),
        ("one", 401),
        ("", 401),
    ],
)
def test_keys(header, status):
    door = gate(Reader(), api_keys=("one", "two"))
    found, headers, _ = asyncio.run(call(door, headers=[("authorization", header)]))
    assert found == status
    assert (b"www-authenticate" in headers) == (status == 401)


def test_without_keys_everybody_is_let_in_and_health_needs_none():
    assert asyncio.run(call(gate(Reader())))[0] == 200
    assert (
        asyncio.run(call(gate(Reader(), api_keys=("k",)), path="/health", method="GET"))[0] == 200
    )


def test_a_body_that_is_announced_too_large_is_never_read():
    reader = Reader()
    door = gate(reader, max_body_bytes=10)
    status, _, body = asyncio.run(call(door, headers=[("content-length", "11")]))
    assert (status, reader.bodies) == (413, []) and b"at most 10 bytes" in body


def test_as_many_as_there_is_room_for_and_then_429_with_retry_after():
    async def run():
        reader = Reader()
        reader.may_go.clear()
        door = gate(
            reader,
            loading=LoadingConfig(limits=BatchingLimits(max_concurrency=1, max_queue=1)),
        )
        first = [asyncio.ensure_future(call(door)) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await call(door)
        reader.may_go.set()
        return refused, [(await one)[0] for one in first], (await call(door))[0]

    (status, headers, _), first, after = asyncio.run(run())
    assert status == 429 and int(headers[b"retry-after"]) >= 1
    assert first == [200, 200] and after == 200
