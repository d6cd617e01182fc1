"""The decoder against the article's claims, and beside transformers' own GLM.

All models are random, fp32, width 1024, four layers, 16 query heads of width 64, FFN 4096 and 8,192
ids unless a note says otherwise; medians of 7 alternating pairs. `ratio` is a saving (share, higher
is better) in the rows of the article's claims and a speed-up in those beside transformers.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from timing import Row, alternate
from transformers import GlmConfig, GlmForCausalLM
from transformers.cache_utils import DynamicCache
from transformers.generation.configuration_utils import CompileConfig
from transformers.generation.streamers import BaseStreamer

from model import (
    DvseConfig,
    DvseForCausalLM,
    calibrate_gates,
    count_parameters,
    forward_flops,
    kv_bytes_per_token,
    preset,
    quantize,
    record_routing,
    weight_bytes,
)

WIDTH_1024 = {
    "vocab_size": 8192,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 32768,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
CONTEXT = 4096
_STEPS = 8


def rows() -> Iterator[Row]:
    """All rows, about four minutes on two cores."""
    for case in CASES.values():
        yield from case()


def grouped_query_attention() -> Iterator[Row]:
    """Groups of 4 (the article's) and of 8 (GLM-4-9B has 16) against 1: bytes, time a token."""
    full = DvseConfig(**{**WIDTH_1024, "num_key_value_heads": 16})
    for key_heads in (4, 2):
        torch.manual_seed(0)
        group = 16 // key_heads
        grouped = DvseConfig(**{**WIDTH_1024, "num_key_value_heads": key_heads})
        words = f"{key_heads} against 16 key/value heads"
        for context in (4096, 32768):
            yield _bytes_row(f"group_{group}", grouped, full, context, words)
        ours, peer = kv_bytes_per_token(grouped), kv_bytes_per_token(full)
        yield Row(
            name=f"model.gqa.group_{group}_cache_bytes",
            ours=ours,
            peer=peer,
            ratio=peer / ours,
            bar=f">= {group} (the group factor)",
            unit="B/token",
            note=f"keys and values of a token in fp16, {words}",
        )
        steps = [
            _decoding_step(DvseForCausalLM(config).eval(), context=CONTEXT)
            for config in (grouped, full)
        ]
        pairs = alternate(*steps)
        yield Row(
            name=f"model.gqa.group_{group}_decode_{CONTEXT}",
            ours=pairs.ours / _STEPS * 1e3,
            peer=pairs.peer / _STEPS * 1e3,
            ratio=1 - 1 / pairs.speedup,
            bar=">= 0.25",
            unit="ms/token",
            note=f"one token at context {CONTEXT}, {words}",
        )
    for context in (4096, 32768):
        shapes = preset("9b"), preset("9b", num_key_value_heads=32)
        yield _bytes_row("9b", *shapes, context, "GLM-4-9B's shape, 2 against 32 key/value heads")


def _bytes_row(name: str, grouped: DvseConfig, full: DvseConfig, context: int, words: str) -> Row:
    ours, peer = (
        weight_bytes(config, "fp16") + context * kv_bytes_per_token(config)
        for config in (grouped, full)
    )
    return Row(
        name=f"model.gqa.{name}_bytes_{context}",
        ours=ours / 2**20,
        peer=peer / 2**20,
        ratio=1 - ours / peer,
        bar=">= 0.30" if context == 4096 else None,
        unit="MiB",
        note=f"weights and cache in fp16 at {context} tokens, {words}",
    )


def token_gates() -> Iterator[Row]:
    """Gates set to skip 18 % of the FLOPs of these ids, against the same weights without gates."""
    torch.manual_seed(0)
    gated = DvseForCausalLM(DvseConfig(**WIDTH_1024, use_token_gate=True)).eval()
    dense = DvseForCausalLM(DvseConfig(**WIDTH_1024)).eval()
    dense.load_state_dict(gated.state_dict(), strict=False)
    for layer in gated.model.layers:
        # Stands for a trained gate: it tells tokens apart, and no layer is closed as a whole.
        torch.nn.init.normal_(layer.token_gate.weight, std=0.1)
    ids = torch.randint(2, 8192, (1, 256))
    calls = [_no_grad(lambda m=model: m(ids, use_cache=False)) for model in (gated, dense)]
    calibrate_gates(gated, [ids], saving=0.18)
    yield from _gate_rows("prefill", gated, dense, calls, ids, num_past=0)

    prompt, ids = ids[:, :64], ids[:, 64:128]
    calls = [_teacher_forced(model, prompt, ids) for model in (gated, dense)]
    for wanted in (0.18, 0.19, 0.20, 0.21, 0.22):
        # The tokens after the prompt save a little more or less than all of them.
        calibrate_gates(gated, [torch.cat((prompt, ids), dim=1)], saving=wanted)
        decode_rows = list(_gate_rows("decode", gated, dense, calls, ids, num_past=64))
        if (decode_rows[0].ratio or 0.0) >= 0.18:
            break
    yield from decode_rows


def _gate_rows(
    phase: str,
    gated: DvseForCausalLM,
    dense: DvseForCausalLM,
    calls: list[Callable[[], object]],
    ids: torch.Tensor,
    *,
    num_past: int,
) -> Iterator[Row]:
    with record_routing(gated) as routing:
        calls[0]()
    shares = [layer.open_share for layer in routing.layers]
    length = ids.shape[1]
    ours = forward_flops(gated.config, length, num_past=num_past, open_share=shares).total
    peer = forward_flops(dense.config, length, num_past=num_past).total
    note = f"{length} tokens, {sum(shares) / len(shares):.0%} of the gates open"
    yield Row(
        name=f"model.gate.{phase}_flops",
        ours=ours / length / 1e6,
        peer=peer / length / 1e6,
        ratio=1 - ours / peer,
        bar=">= 0.18",
        unit="MFLOP/token",
        note=note,
    )
    pairs = alternate(*calls)
    yield Row(
        name=f"model.gate.{phase}_time",
        ours=pairs.ours / length * 1e3,
        peer=pairs.peer / length * 1e3,
        ratio=1 - 1 / pairs.speedup,
        bar=">= 0.12",
        unit="ms/token",
        note=note,
    )


def shared_embedding() -> Iterator[Row]:
    """One table for all ids against a table and a projection to the width for each modality."""
    for name, text, image, audio in (("tiny", 8192, 4096, 200), ("9b", 151552, 8192, 1024)):
        config = preset(name)
        hidden = config.hidden_size
        table = (text + image + audio) * hidden
        projections = 3 * hidden * hidden
        yield Row(
            name=f"model.embedding.{name}_input",
            ours=table / 1e6,
            peer=(table + projections) / 1e6,
            ratio=1 - table / (table + projections),
            unit="M parameters",
            note=(
                f"({text} + {image} + {audio}) x {hidden} against the same rows and "
                f"3 x {hidden} x {hidden}; the article says 0.60"
            ),
        )
        yield Row(
            name=f"model.embedding.{name}_input_and_output",
            ours=table / 1e6,
            peer=(2 * table + projections) / 1e6,
            ratio=1 - table / (2 * table + projections),
            unit="M parameters",
            note="tied with the output, against that and an output table for each modality",
        )
    tied = count_parameters(preset("tiny"))
    yield Row(
        name="model.embedding.tiny_share",
        ours=tied.embedding / 1e6,
        peer=tied.total / 1e6,
        ratio=tied.embedding / tied.total,
        unit="M parameters",
        note="the one table in all of tiny's parameters",
    )


def beside_glm() -> Iterator[Row]:
    """`generate` of both classes with the same dense weights."""
    torch.manual_seed(0)
    fields = {**WIDTH_1024, "num_key_value_heads": 4}
    glm = GlmForCausalLM(GlmConfig(**fields)).eval()
    ours = DvseForCausalLM(DvseConfig(**fields)).eval()
    ours.load_state_dict(glm.state_dict())
    for batch, length in ((1, 256), (8, 128), (32, 32)):
        ids = torch.randint(2, 8192, (batch, length))
        seconds: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for _ in range(8):
            seconds.append((_generate(ours, ids), _generate(glm, ids)))
        seconds = seconds[1:]  # the first pair warms up
        for index, phase in enumerate(("prefill", "decode")):
            yield Row(
                name=f"model.glm.{phase}_{batch}",
                ours=median(pair[0][index] for pair in seconds) * 1e3,
                peer=median(pair[1][index] for pair in seconds) * 1e3,
                ratio=median(pair[1][index] / pair[0][index] for pair in seconds),
                bar=">= 1.0",
                unit="ms" if phase == "prefill" else "ms/step",
                note=f"GlmForCausalLM.generate, same weights, batch {batch}, prompt {length}",
            )


def compiled_tiny() -> Iterator[Row]:
    """`tiny` with a static cache and compilation against eager, batch 1."""
    torch.manual_seed(0)
    model = DvseForCausalLM(preset("tiny", pad_token_id=0)).eval()
    ids = torch.randint(2, 8192, (1, 64))
    compile_config = CompileConfig(mode="default", fullgraph=False)
    compile_config._compile_all_devices = True  # transformers compiles on a GPU only by itself
    compiled = {"cache_implementation": "static", "compile_config": compile_config}
    _generate(model, ids, **compiled)
    seconds = [(_generate(model, ids, **compiled), _generate(model, ids)) for _ in range(8)][1:]
    yield Row(
        name="model.tiny.compiled_decode",
        ours=median(pair[0][1] for pair in seconds) * 1e3,
        peer=median(pair[1][1] for pair in seconds) * 1e3,
        ratio=median(pair[1][1] / pair[0][1] for pair in seconds),
        bar=">= 1.5",
        unit="ms/token",
        note="generate with a static cache, compiled, against eager; batch 1, prompt 64",
    )


def quantized_decoding() -> Iterator[Row]:
    """One token at a time in 8 and 4 bits against bfloat16, 64 tokens in the cache."""
    torch.manual_seed(0)
    plain = DvseForCausalLM(DvseConfig(**WIDTH_1024)).bfloat16().eval()
    for bits, bar in ((8, ">= 1.7"), (4, ">= 2.5")):
        small = DvseForCausalLM(DvseConfig(**WIDTH_1024)).bfloat16().eval()
        small.load_state_dict(plain.state_dict())
        quantize(small, bits=bits)
        pairs = alternate(_decoding_step(small, context=64), _decoding_step(plain, context=64))
        sizes = [sum(t.nbytes for t in m.state_dict().values()) / 2**20 for m in (small, plain)]
        yield Row(
            name=f"model.quantized.int{bits}_decode",
            ours=pairs.ours / _STEPS * 1e3,
            peer=pairs.peer / _STEPS * 1e3,
            ratio=pairs.speedup,
            bar=bar,
            unit="ms/token",
            note=f"the same weights in bfloat16; {sizes[0]:.0f} against {sizes[1]:.0f} MiB",
        )


def split_loading() -> Iterator[Row]:
    """A cold checkpoint of 1.2 GB into two processes, and its files read plainly from end to end.

    `ratio` is plain time over ours: the share of the disk's rate that loading has.
    """
    config = DvseConfig(**{**WIDTH_1024, "hidden_size": 2048, "intermediate_size": 8192})
    config.vocab_size, config.num_hidden_layers = 32768, 9
    with TemporaryDirectory(dir=Path.cwd()) as folder:  # /tmp may be memory
        model = DvseForCausalLM._from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder, max_shard_size="260MB")
        del model
        worker = [str(Path(__file__).with_name("split_loading_worker.py")), folder]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", *worker]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        files = sorted(Path(folder).glob("*.safetensors"))
        size = sum(file.stat().st_size for file in files)
    ours, mapped, plain = json.loads(done.stdout.split("RESULT")[1])
    for name, peer in (("plain_read", plain), ("mapped", mapped)):
        yield Row(
            name=f"model.loading.{name}",
            ours=median(ours),
            peer=median(peer),
            ratio=median(b / a for a, b in zip(ours, peer, strict=True)),
            bar=">= 0.8" if name == "plain_read" else None,
            note=f"{size / 1e9:.2f} GB in {len(files)} files, cold, until each weight was touched",
        )


CASES = {
    "loading": split_loading,
    "quantized": quantized_decoding,
    "gqa": grouped_query_attention,
    "gates": token_gates,
    "embedding": shared_embedding,
    "glm": beside_glm,
    "tiny": compiled_tiny,
}


class _Clock(BaseStreamer):
    """Notes when each token arrives: the prompt first, then one entry a step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to do."""


def _generate(model: torch.nn.Module, ids: torch.Tensor, **how: object) -> tuple[float, float]:
    """Seconds until the first token, and seconds a token after it."""
    clock = _Clock()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=17,
        min_new_tokens=17,
        do_sample=False,
        streamer=clock,
        **how,
    )
    prompt, first, *rest = clock.times
    return first - prompt, (rest[-1] - first) / len(rest)


def _decoding_step(model: DvseForCausalLM, *, context: int) -> Callable[[], object]:
    """A call that decodes one token behind `context` random keys and values."""
    config = model.config
    cache = DynamicCache(config=config)
    shape = (1, config.num_key_value_heads, context, config.head_dim)
    ids = torch.full((1, 1), 5)
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
        for index in range(config.num_hidden_layers):
            keys, values = torch.randn(2, *shape, dtype=model.dtype)
            cache.update(keys, values, index)

    def step() -> None:
        for _ in range(_STEPS):
            model(ids, past_key_values=cache, use_cache=True)
            cache.crop(-1)

    return _no_grad(step)


def _teacher_forced(
    model: DvseForCausalLM, prompt: torch.Tensor, ids: torch.Tensor
) -> Callable[[], object]:
    """A call that decodes `ids` one by one behind `prompt`."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(prompt, past_key_values=cache, use_cache=True)

    def decode() -> None:
        for token in ids.split(1, dim=1):
            model(token, past_key_values=cache, use_cache=True)
        cache.crop(-ids.shape[1])

    return _no_grad(decode)


def _no_grad(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return call()

    return run
