"""The server against bare `generate` and against `transformers serve`, and what it does over time.

All models have the shape of `tiny` and random weights (speed does not depend on their values);
their stop tokens score 0, below the likeliest of all others, so every answer has exactly the tokens
that are asked for. Clients are a process of their own on the same two cores, as light as they can
be: written straight to sockets. Prompts differ from their first words on, so nothing is reused
between them.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import torch
from http_load import NUM_NEW, http_request, load, prompt_of
from serving import Address, peer_serving, serving
from timing import Row

import dvse
from dvse.chat import render
from model import DvseForCausalLM, preset
from pipelines.answering.model_directory import STOP_TOKENS, save_model

_ROUNDS = 4


def rows() -> Iterator[Row]:
    """All rows; about twelve minutes on two cores."""
    for case in CASES.values():
        yield from case()


def throughput() -> Iterator[Row]:
    """32 clients against `generate` at batch 32, in turn; and one against one."""
    with _model() as folder, serving(folder) as server:
        model = DvseForCausalLM.from_pretrained(folder).eval()
        tokenizer = dvse.load("tiny")
        for clients, name, bar in ((32, "throughput_32", ">= 0.8"), (1, "latency_1", "<= 1.3")):
            prompts = [prompt_of(i) for i in range(clients)]
            batch = tokenizer([list(_row(p)) for p in prompts], padding_side="left")
            ours, peer = [], []
            for _ in range(_ROUNDS + 1):
                found = asyncio.run(load(server, prompts))
                assert found.tokens == clients * NUM_NEW, found.tokens
                ours.append(found.seconds)
                started = time.perf_counter()
                with torch.inference_mode():
                    model.generate(
                        batch.input_ids,
                        attention_mask=batch.attention_mask,
                        max_new_tokens=NUM_NEW,
                        min_new_tokens=NUM_NEW,
                        do_sample=False,
                    )
                peer.append(time.perf_counter() - started)
            ours, peer = ours[1:], peer[1:]  # the first pair warms up
            pairs = list(zip(ours, peer, strict=True))
            length = batch.input_ids.shape[1]
            note = f"prompts of {length} tokens, answers of {NUM_NEW}, against bare generate"
            if clients == 1:
                yield Row(
                    name=f"server.{name}",
                    ours=median(ours) * 1e3,
                    peer=median(peer) * 1e3,
                    ratio=median(o / p for o, p in pairs),
                    bar=bar,
                    unit="ms",
                    note=note,
                )
            else:
                total = clients * NUM_NEW
                yield Row(
                    name=f"server.{name}",
                    ours=total / median(ours),
                    peer=total / median(peer),
                    ratio=median(p / o for o, p in pairs),
                    bar=bar,
                    unit="tokens/s",
                    note=note,
                )


def first_token() -> Iterator[Row]:
    """Streaming clients that ask again and again: time to the first token, and all tokens."""
    with _model() as folder, serving(folder) as server:
        for clients in (1, 16, 32):
            prompts = [prompt_of(i) for i in range(clients * 4)]
            asyncio.run(load(server, prompts[:clients], stream=True))
            found = asyncio.run(load(server, prompts, stream=True, clients=clients))
            firsts = sorted(found.first_s)
            p99 = quantiles(firsts, n=100, method="inclusive")[98]
            yield Row(
                name=f"server.first_token_p99_{clients}",
                ours=p99 * 1e3,
                unit="ms",
                note=f"{clients} streaming clients; median {median(firsts) * 1e3:.0f} ms, "
                f"{len(prompts) * NUM_NEW / found.seconds:.0f} tokens/s",
            )


def transformers_serve() -> Iterator[Row]:
    """16 clients against `transformers serve --continuous-batching` with the same weights.

    A dense decoder of ours has GLM's parameters, so the peer serves them as a GLM model; its
    tokenizer has one id a word, and its prompts have as many ids as ours.
    """
    clients = 16
    prompts = [prompt_of(i) for i in range(clients)]
    length = len(dvse.load("tiny").encode(list(_row(prompts[0]))))
    with _model() as folder:
        with serving(folder) as server:
            ours = [asyncio.run(load(server, prompts)) for _ in range(_ROUNDS + 1)]
        glm = folder.with_name("glm")
        _save_as_glm(folder, glm)
        with peer_serving(glm) as peer_server:
            words = [
                " ".join(f"w{(97 * i + 13 * j) % 7000}" for j in range(length))
                for i in range(clients)
            ]
            peer = [
                asyncio.run(load(peer_server, words, model=str(glm))) for _ in range(_ROUNDS + 1)
            ]
    rates = [[load.tokens / load.seconds for load in loads[1:]] for loads in (ours, peer)]
    yield Row(
        name="server.transformers_serve_16",
        ours=median(rates[0]),
        peer=median(rates[1]),
        ratio=median(rates[0]) / median(rates[1]),
        bar=">= 1.2",
        unit="tokens/s",
        note=f"16 clients, prompts of {length} tokens, answers of {NUM_NEW}, same weights",
    )


def memory() -> Iterator[Row]:
    """Resident memory after ten thousand requests, against after the first thousand."""
    with _model() as folder, serving(folder) as server:
        sizes = []
        for thousand in range(10):
            prompts = [prompt_of(1000 * thousand + i) for i in range(1000)]
            found = asyncio.run(load(server, prompts, clients=32, max_tokens=2))
            assert found.tokens == 2000, found.tokens
            sizes.append(_resident_mib(server.pid))
    yield Row(
        name="server.memory_10000",
        ours=max(sizes[1:]),
        peer=sizes[0],
        ratio=max(sizes[1:]) / sizes[0],
        bar="<= 1.05",
        unit="MiB",
        note="largest resident size after each further thousand of 10,000 requests",
    )


def hang_up() -> Iterator[Row]:
    """Half of 32 streaming clients hang up at once: how soon their places are free."""
    with _model() as folder, serving(folder) as server:
        seconds = [asyncio.run(_hang_up(server)) for _ in range(5)]
    yield Row(
        name="server.slots_back",
        ours=max(seconds),
        bar="<= 1",
        note="16 of 32 clients hang up in mid-stream; slowest of 5",
    )


def start() -> Iterator[Row]:
    """From imported libraries to ready, and from nothing to ready; medians of 5."""
    found = []
    with _model() as folder:
        for _ in range(5):
            with serving(folder) as server:
                found.append(server.ready_s)
    for index, name, bar in ((0, "ready_after_imports", "<= 5"), (1, "imports", None)):
        yield Row(name=f"server.{name}", ours=median(pair[index] for pair in found), bar=bar)


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "throughput": throughput,
    "first_token": first_token,
    "transformers_serve": transformers_serve,
    "memory": memory,
    "hang_up": hang_up,
    "start": start,
}


@contextmanager
def _model() -> Iterator[Path]:
    """A model directory of tiny's shape with random weights that never says a stop token."""
    with tempfile.TemporaryDirectory() as name:
        torch.manual_seed(0)
        vocabulary = dvse.load("tiny").vocabulary
        config = preset("tiny", vocab_size=vocabulary.size, initializer_range=0.1)
        model = DvseForCausalLM(config)
        stop_ids = [vocabulary.special_tokens[token] for token in STOP_TOKENS]
        model.get_output_embeddings().weight.data[stop_ids] = 0.0
        yield save_model(model, "tiny", Path(name) / "random")


def _save_as_glm(folder: Path, target: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GlmConfig, GlmForCausalLM, PreTrainedTokenizerFast

    ours = DvseForCausalLM.from_pretrained(folder)
    fields = {
        name: getattr(ours.config, name)
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
            "rms_norm_eps",
            "tie_word_embeddings",
            "attention_bias",
        )
    }
    end = fields["vocab_size"] - 1
    glm = GlmForCausalLM(GlmConfig(**fields, pad_token_id=end, eos_token_id=end))
    glm.load_state_dict(ours.state_dict())
    glm.generation_config.eos_token_id = end
    glm.save_pretrained(target)
    words = {f"w{i}": i for i in range(fields["vocab_size"])}
    inner = Tokenizer(WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=f"w{end}", pad_token=f"w{end}", unk_token="w0"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(target)


def _row(prompt: str) -> tuple:
    return render([{"role": "user", "content": prompt}], add_generation_prompt=True).items


async def _hang_up(server: Address) -> float:
    """Return how long 16 places stay taken after their clients are gone."""

    async def opened(number: int) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        messages = [{"role": "user", "content": prompt_of(number)}]
        body = {"model": "m", "messages": messages, "max_tokens": 1500, "stream": True}
        writer.write(http_request(body))
        await reader.readuntil(b"data: ")
        return writer

    writers = await asyncio.gather(*(opened(i) for i in range(32)))
    await _until(lambda: _running_answers(server), 32)
    started = time.perf_counter()
    for writer in writers[:16]:
        writer.transport.abort()
    await _until(lambda: _running_answers(server), 16)
    seconds = time.perf_counter() - started
    for writer in writers[16:]:
        writer.transport.abort()
    await _until(lambda: _running_answers(server), 0)
    return seconds


async def _until(read: Callable[[], Awaitable[int]], wanted: int) -> None:
    deadline = time.monotonic() + 20
    while await read() != wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"expected {wanted} running answers, still {await read()}")
        await asyncio.sleep(0.01)


async def _running_answers(server: Address) -> int:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return int(float(re.search(r"^dvse_running_answers ([\d.]+)", text, re.MULTILINE)[1]))


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
