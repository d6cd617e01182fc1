"""How long `/health` takes while the server has much to do: the slowest of many, asked every 5 ms.

Pictures and recordings of 15 MB as JSON and as a form, 32 clients that generate, and both. Who asks
is a process of its own. On a busy machine the row `idle` says what the machine itself costs.
"""

import asyncio
import base64
import io
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import soundfile
from http_load import http_request, load, prompt_of
from PIL import Image
from serving import Address, serving
from timing import Row

_SIDE, _SECONDS, _RATE_HZ = 2200, 450, 16_000
_PROBE = """
import json, select, socket, sys, time
place = socket.create_connection((sys.argv[1], int(sys.argv[2])))
place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
seconds = []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    started = time.perf_counter()
    place.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        answer += place.recv(4096)
    seconds.append(time.perf_counter() - started)
json.dump(seconds, open(sys.argv[3], "w"))
"""


def rows() -> Iterator[Row]:
    """Idle, a picture, a recording, a form, 32 clients, a picture among 32 clients."""
    noise = np.random.default_rng(0)
    file = io.BytesIO()
    pixels = noise.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG", compress_level=0)
    sound = io.BytesIO()
    samples = noise.standard_normal(_SECONDS * _RATE_HZ).astype(np.float32) * 0.1
    soundfile.write(sound, samples, _RATE_HZ, format="WAV", subtype="PCM_16")
    url = {"url": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}
    heard = {"data": base64.b64encode(sound.getvalue()).decode(), "format": "wav"}
    picture = _chat({"type": "image_url", "image_url": url})
    recording = _chat({"type": "input_audio", "input_audio": heard})
    form = _form(sound.getvalue())
    prompts = [prompt_of(number) for number in range(64)]

    async def both(server: Address) -> None:
        clients = asyncio.ensure_future(load(server, prompts, clients=32))
        await _send(server, picture, times=3)
        await clients

    cases: dict[str, Callable[[Address], Awaitable[object]]] = {
        "idle": lambda server: asyncio.sleep(2),
        "picture": lambda server: _send(server, picture, times=5),
        "recording": lambda server: _send(server, recording, times=5),
        "form": lambda server: _send(server, form, times=5),
        "clients": lambda server: load(server, prompts, clients=32),
        "picture_and_clients": both,
    }
    with serving("tiny") as server:
        for name, work in cases.items():
            seconds = asyncio.run(_asked_meanwhile(server, work))
            p99 = quantiles(seconds, n=100, method="inclusive")[98]
            yield Row(
                name=f"health.{name}",
                ours=max(seconds) * 1e3,
                bar="<= 50",
                unit="ms",
                note=f"slowest of {len(seconds)}; median {median(seconds) * 1e3:.1f} ms, "
                f"99th percentile {p99 * 1e3:.1f} ms",
            )


def _chat(part: dict) -> bytes:
    content = [part, {"type": "text", "text": "What is this?"}]
    return http_request(
        {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    )


def _form(sound: bytes) -> bytes:
    edge = b"--edge\r\nContent-Disposition: form-data; name="
    body = edge + b'"model"\r\n\r\nm\r\n' + edge + b'"file"; filename="a.wav"\r\n\r\n' + sound
    body += b"\r\n--edge--\r\n"
    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
    head += "Content-Type: multipart/form-data; boundary=edge\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _send(server: Address, request: bytes, *, times: int) -> None:
    """Send a request; a recording of minutes is refused, after it was looked at."""
    for _ in range(times):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not re.match(rb"HTTP/1.1 (200|400)", head):
            raise RuntimeError(head.decode())
        writer.close()


@asynccontextmanager
async def _probing(server: Address, file: Path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROBE, server.host, str(server.port), str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    await process.stdout.readline()
    yield
    process.stdin.close()
    if await process.wait():
        raise RuntimeError("/health did not answer")


async def _asked_meanwhile(
    server: Address, work: Callable[[Address], Awaitable[object]]
) -> list[float]:
    """Return the seconds that `/health` took each time while work was done."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "seconds.json"
        async with _probing(server, file):
            await work(server)
        return json.loads(file.read_text())
