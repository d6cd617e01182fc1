"""The server under load and faults: nothing lost, nothing mixed up, nothing kept."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from server_process import ROOT, running, serve_command
from small_model import save_small_model

pytestmark = pytest.mark.slow

_CLIENTS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture
def server(model, tmp_path):
    arguments = ["--max-concurrency", "16", "--max-queue", "500", "--served-model-name", "m"]
    with running(serve_command(model, *arguments), tmp_path / "log") as address:
        yield address


def body(number, *, max_tokens=3, **fields):
    messages = [{"role": "user", "content": f"{number} is a number, and what is {number % 97}?"}]
    return {
        "model": "m",
        "messages": messages,
        "temperature": 0,
        "max_tokens": max_tokens,
        "logprobs": True,
        **fields,
    }


async def ask_all(address, bodies, handle):
    """Send all, `_CLIENTS` at a time; return what `handle` makes of each, in order."""
    found = [None] * len(bodies)
    left = list(range(len(bodies)))[::-1]
    limits = httpx.Limits(max_connections=_CLIENTS)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:

        async def work():
            while left:
                number = left.pop()
                found[number] = await handle(client, bodies[number])

        await asyncio.gather(*(work() for _ in range(_CLIENTS)))
    return found


async def whole(client, request):
    response = await client.post("/v1/chat/completions", json=request)
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    return [(t["token"], t["logprob"]) for t in choice["logprobs"]["content"]]


def metric(address, name):
    text = httpx.get(f"{address}/metrics").text
    return float(re.search(rf"^{name} ([\d.e+]+)$", text, re.MULTILINE)[1])


def resident_mib(address):
    port = address.rsplit(":", 1)[1]
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and folder.name != str(os.getpid()):
            try:
                command = (folder / "cmdline").read_bytes()
                status = (folder / "status").read_text()
            except OSError:
                continue
            if b"pipelines.cli\0serve" in command and listens(folder, int(port)):
                return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
    raise AssertionError("the server's process is not to be found")


def listens(folder, port):
    inodes = {
        line.split()[9]
        for line in (folder / "net" / "tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    try:
        links = [str(entry.readlink()) for entry in (folder / "fd").iterdir()]
    except OSError:
        return False
    return any(f"socket:[{inode}]" in links for inode in inodes)


@pytest.mark.timeout(900)
def test_ten_thousand_requests_without_a_leak_or_a_mixed_up_answer(server):
    """Each prompt's answer in the crowd is the one that it gets alone, to the last bit."""
    kinds = [body(number) for number in range(200)]
    alone = [asyncio.run(ask_all(server, [kind], whole))[0] for kind in kinds]
    assert len({str(answer) for answer in alone}) > 150
    sizes = []
    for _ in range(10):
        found = asyncio.run(ask_all(server, kinds * 5, whole))
        assert found == alone * 5
        sizes.append(resident_mib(server))
    assert max(sizes[1:]) <= 1.05 * sizes[0], sizes
    assert metric(server, "dvse_running_answers") == metric(server, "dvse_cached_tokens") == 0


def test_hanging_up_in_mid_stream_gives_the_places_back_within_a_second(server):
    async def run():
        async with httpx.AsyncClient(base_url=server, timeout=60) as client:

            async def begin(number, leave):
                request = body(number, max_tokens=400, stream=True)
                async with client.stream("POST", "/v1/chat/completions", json=request) as answer:
                    async for line in answer.aiter_lines():
                        if line.startswith("data: {") and leave:
                            return 0
                    return 1

            tasks = [asyncio.ensure_future(begin(i, i % 2 == 0)) for i in range(16)]
            leaving = await asyncio.gather(*tasks[::2])
            started = time.monotonic()
            while metric(server, "dvse_running_answers") > 8:
                assert time.monotonic() - started < 1.0
                await asyncio.sleep(0.02)
            staying = await asyncio.gather(*tasks[1::2])
            return leaving, staying

    leaving, staying = asyncio.run(run())
    assert sum(leaving) == 0 and sum(staying) == 8
    assert metric(server, "dvse_cancelled_answers_total") >= 8
    assert metric(server, "dvse_cached_tokens") == 0


def test_a_full_server_says_when_to_come_back_and_loses_nothing(model, tmp_path):
    arguments = ["--max-concurrency", "1", "--max-queue", "2", "--served-model-name", "m"]
    with running(serve_command(model, *arguments), tmp_path / "log") as address:

        async def status(client, request):
            response = await client.post("/v1/chat/completions", json=request)
            if response.status_code == 429:
                assert int(response.headers["Retry-After"]) >= 1
            return response.status_code

        bodies = [body(i, max_tokens=100) for i in range(24)]
        found = asyncio.run(ask_all(address, bodies, status))
        assert set(found) == {200, 429} and found.count(200) >= 3
        assert metric(address, "dvse_running_answers") == 0


@pytest.mark.parametrize("tokens", [60, 480])
def test_a_stop_signal_lets_running_answers_finish_or_says_why_not(model, tmp_path, tokens):
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            serve_command(model, "--served-model-name", "m"),
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"endpoints at (http://[\d.]+:\d+)", log.read_text())):
            assert time.monotonic() < deadline and process.poll() is None, log.read_text()
            time.sleep(0.05)
        request = body(1, max_tokens=tokens, stream=True)
        url, last = f"{found[1]}/v1/chat/completions", ""
        with httpx.stream("POST", url, json=request, timeout=60) as answer:
            for number, line in enumerate(answer.iter_lines()):
                last = line or last
                if number == 4:
                    process.send_signal(signal.SIGTERM)
        assert last == "data: [DONE]" or "error" in json.loads(last.removeprefix("data: "))
        assert process.wait(30) == -signal.SIGTERM  # as programs end that a signal ends
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_and_a_model_that_is_not_there(model, tmp_path):
    with running(serve_command(model), tmp_path / "log") as address:
        port = address.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "pipelines.cli", "serve", "--model"]
        again = subprocess.run(
            [*command, str(model), "--port", port], capture_output=True, cwd=ROOT, timeout=120
        )
        assert again.returncode == 1 and b"Traceback" not in again.stderr
        assert b"ddress already in use" in again.stderr
    nothing = subprocess.run(
        [*command, str(tmp_path / "none"), "--port", "0"],
        capture_output=True,
        cwd=ROOT,
        timeout=120,
    )
    assert nothing.returncode == 1 and b"Traceback" not in nothing.stderr
