"""Clients of a chat server, as light as they can be: written straight to sockets."""

import asyncio
import json
import re
import time
from dataclasses import dataclass

from serving import Address

NUM_NEW, _WORDS = 64, 24


@dataclass(frozen=True, kw_only=True)
class Load:
    seconds: float
    tokens: int
    first_s: list[float]


def prompt_of(number: int) -> str:
    return f"{number} " + " ".join(f"{number * 31 + j * 7}" for j in range(_WORDS))


async def load(
    server: Address,
    prompts: list[str],
    *,
    clients: int | None = None,
    stream: bool = False,
    max_tokens: int = NUM_NEW,
    model: str = "m",
) -> Load:
    """Ask for all prompts, `clients` at a time, each on a connection of its own."""
    waiting = list(enumerate(prompts))[::-1]
    firsts: list[float] = []
    counts: list[int] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        while waiting:
            _, prompt = waiting.pop()
            body = {
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": max_tokens,
                "temperature": 0,
                "stream": stream,
            }
            if stream:
                body["stream_options"] = {"include_usage": True}
            started = time.perf_counter()
            writer.write(http_request(body))
            tokens = await (_read_stream if stream else _read_whole)(reader, started, firsts)
            counts.append(tokens)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients or len(prompts))))
    return Load(seconds=time.perf_counter() - started, tokens=sum(counts), first_s=firsts)


def http_request(body: dict) -> bytes:
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def _head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(head.decode() + (await reader.read(500)).decode())
    return head.lower()


async def _read_whole(reader: asyncio.StreamReader, started: float, firsts: list[float]) -> int:
    head = await _head(reader)
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    usage = json.loads(await reader.readexactly(length))["usage"]
    firsts.append(time.perf_counter() - started)
    return usage["completion_tokens"]


async def _read_stream(reader: asyncio.StreamReader, started: float, firsts: list[float]) -> int:
    await _head(reader)
    tokens, is_first = 0, True
    while size := int(await reader.readline(), 16):
        data = (await reader.readexactly(size + 2))[:-2]
        if is_first and b'"content":"' in data and b'"content":""' not in data:
            firsts.append(time.perf_counter() - started)
            is_first = False
        if found := re.search(rb'"completion_tokens":(\d+)', data):
            tokens = int(found[1])
    await reader.readline()
    return tokens
