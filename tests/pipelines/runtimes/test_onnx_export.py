"""Real exports, run by ONNX Runtime beside torch: other shapes than the traced ones, 64 tokens."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_model import make_decoder, save_small_model

import dvse
from dvse.errors import BundleIntegrityError, ConfigError
from dvse.onnx_graph import OnnxGraph
from model.graph.onnx_decoder import OnnxDecoder, OnnxDecoderConfig
from model.graph.step import DecoderStep
from pipelines import Captioner
from pipelines.cli import main
from pipelines.runtimes import onnx_export
from pipelines.runtimes.onnx_export import export_onnx
from pipelines.runtimes.onnx_settings import OnnxSettings
from pipelines.runtimes.tracing import traced, write
from pipelines.runtimes.weight_bits import with_bits
from pipelines.tiny.samples.making import make_samples

EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
KINDS = {
    "dense": {},
    "gate": {"use_token_gate": True},
    "experts": {**EXPERTS, "first_k_dense_replace": 1},
    "gate and experts": {**EXPERTS, "use_token_gate": True},
}
SHAPES = [(1, 1), (1, 23), (3, 7), (2, 10)]


def open_gates(model):
    """Let gates differ from token to token."""
    torch.manual_seed(1)
    for layer in model.model.layers:
        if layer.token_gate is not None:
            torch.nn.init.normal_(layer.token_gate.weight)
            torch.nn.init.constant_(layer.token_gate.bias, 0.1)
    return model


def greedy(decoder: OnnxDecoder, ids: np.ndarray, num_tokens: int):
    """Ids `[B, num_tokens]` and the logits they came from."""
    cache, mask = decoder.empty_cache(len(ids)), np.ones(ids.shape, np.int64)
    tokens, scores = [], []
    for _ in range(num_tokens):
        positions = np.tile(np.arange(mask.shape[1]), (len(ids), 1))[:, -ids.shape[1] :]
        logits, cache = decoder.step(ids, mask, positions, cache)
        ids = logits.argmax(-1)[:, None]
        tokens.append(ids[:, 0])
        scores.append(logits)
        mask = np.concatenate([mask, np.ones_like(ids)], axis=1)
    return np.stack(tokens, 1), np.stack(scores, 1)


@torch.no_grad()
def largest_error(model, decoder: OnnxDecoder, num_tokens: int = 64) -> float:
    """Over greedy continuations of prompts of several shapes; ids have to be torch's own."""
    worst = 0.0
    draws = np.random.default_rng(0)
    for shape in SHAPES:
        prompt = draws.integers(0, 9000, shape)
        tokens, scores = greedy(decoder, prompt, num_tokens)
        whole = np.concatenate([prompt, tokens], axis=1)
        wanted = model(torch.from_numpy(whole)).logits[:, shape[1] - 1 : -1].numpy()
        assert (wanted.argmax(-1) == tokens).all()
        worst = max(worst, float(abs(wanted - scores).max()))
    return worst


def graph_of(model, path: Path, bits: int | None = None) -> OnnxDecoder:
    step = DecoderStep(model)
    made = traced(step)
    write(made if bits is None else with_bits(made, bits), path)
    return OnnxDecoder(OnnxGraph(path), OnnxDecoderConfig.of(step.config))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_the_decoders(kind, tmp_path):
    fields = {**KINDS[kind], "num_hidden_layers": 2 if "experts" in kind else 1}
    model, twin = (open_gates(make_decoder(**fields)) for _ in range(2))
    decoder = graph_of(twin, tmp_path / "model.onnx")
    assert largest_error(model, decoder) < 1e-4
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    names = [one.name for one in graph.input]
    assert names[:4] == ["input_ids", "attention_mask", "position_ids", "past_key_values.0.key"]
    cache = graph.input[3].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in cache] == ["batch", 2, "past", 8]
    assert str(Path.cwd()).encode() not in (tmp_path / "model.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "most"), [(8, 0.05), (4, 0.6)])
def test_fewer_bits(bits, most, tmp_path, caplog):
    """Logits stay near; head and gates are as they were; the products are the quantizer's."""
    fields = {"hidden_size": 64, "intermediate_size": 96, "use_token_gate": True}
    model, twin = (open_gates(make_decoder(**fields)) for _ in range(2))
    caplog.set_level("INFO")
    decoder = graph_of(twin, tmp_path / "model.onnx", bits)
    assert not [one for one in caplog.records if one.name.startswith("onnxruntime")]
    nodes = onnx.load(str(tmp_path / "model.onnx")).graph.node
    quantized = [node for node in nodes if node.op_type == "MatMulNBits"]
    assert len(quantized) == 2 * 6  # q, k, v, o, gate and up, down of both layers
    ids = np.random.default_rng(0).integers(0, 9000, (64, 12))
    places = np.tile(np.arange(12), (64, 1))
    found, _ = decoder.step(ids, np.ones_like(ids), places, decoder.empty_cache(64))
    with torch.no_grad():
        told = model(torch.from_numpy(ids), output_gate_logits=True)
    wanted = told.logits[:, -1].numpy()
    # A gate that nearly parts may flip, and then a whole FFN is there or not: these are left out.
    nearest = torch.stack([gates.view(64, -1).abs().amin(1) for gates in told.gate_logits]).amin(0)
    is_clear = nearest.numpy() > (0.1 if bits == 8 else 0.5)
    assert is_clear.sum() >= 8
    found, wanted = found[is_clear], wanted[is_clear]
    errors = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    # With 4 bits one of some rows still flips one.
    assert 0 < errors.min() and np.median(errors) < most and (errors < most).mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bits"), [*((kind, 8) for kind in KINDS), ("experts", 4), ("gate and experts", 4)]
)
def test_fewer_bits_are_the_weights_that_they_stand_for(kind, bits, tmp_path):
    """At shapes that were not traced: torch with the graph's own weights says the same tokens."""
    fields = {**KINDS[kind], "num_hidden_layers": 2 if "experts" in kind else 1}
    fields |= {"hidden_size": 64, "intermediate_size": 96}
    model, twin = (open_gates(make_decoder(**fields)) for _ in range(2))
    decoder = graph_of(twin, tmp_path / "model.onnx", bits)
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    rounded = [node for node in graph.node if node.op_type == "MatMulNBits"]
    products = [weight for weight in matrices(model) if weight.shape[0] > 1]
    assert len(rounded) == len(products)
    for node in rounded:
        found = multiplied_out(node, stored)
        alike = [weight for weight in products if weight.shape == found.shape]
        errors = [float((found - weight).norm() / weight.norm()) for weight in alike]
        nearest = int(np.argmin(errors))
        assert 0 < errors[nearest] < {8: 0.02, 4: 0.2}[bits]
        alike[nearest].data.copy_(found)
        products = [weight for weight in products if weight is not alike[nearest]]
    assert largest_error(model, decoder) < 1e-4


def matrices(model):
    """Weights of the layers' products, experts one by one; gates and routers are kept whole."""
    for name, weight in model.model.layers.named_parameters():
        if weight.dim() == 3:
            yield from weight.detach()
        elif weight.dim() == 2 and not name.endswith(("token_gate.weight", "mlp.gate.weight")):
            yield weight.detach()


def multiplied_out(node, stored):
    """What a `MatMulNBits` multiplies by, `[out, in]`: symmetric groups along the inputs."""
    settings = {one.name: one.i for one in node.attribute}
    outputs, inputs, bits = settings["N"], settings["K"], settings["bits"]
    packed, scales = (stored[name] for name in node.input[1:3])
    integers = packed.reshape(outputs, -1)
    if bits == 4:
        integers = np.stack([integers & 15, integers >> 4], axis=-1).reshape(outputs, -1)
    groups = integers.reshape(outputs, -1, settings["block_size"]).astype(np.float32)
    whole = (groups - 2 ** (bits - 1)) * scales.reshape(outputs, -1, 1)
    return torch.from_numpy(whole.reshape(outputs, -1)[:, :inputs])


@pytest.fixture(scope="module")
def tiny_export(tmp_path_factory) -> Path:
    return export_onnx("tiny", tmp_path_factory.mktemp("exports") / "tiny").folder


@pytest.mark.slow
def test_tiny_answers_and_tokenises_as_it_does_in_torch(tiny_export, tmp_path):
    paths = make_samples(tmp_path / "samples")
    media = [
        str(path) for path in paths if path.suffix in (".png", ".jpg", ".flac", ".wav", ".ogg")
    ]
    assert len(media) > 12
    there, here = Captioner.load("tiny"), Captioner.load(tiny_export)
    assert here(media) == there(media)
    rows = [dvse.Image(p) if Path(p).suffix in (".png", ".jpg") else dvse.Audio(p) for p in media]
    found, wanted = (list(c.tokenizer.encode_many(rows)) for c in (here, there))
    assert [e.ids.tolist() for e in found] == [e.ids.tolist() for e in wanted]
    step = DecoderStep(there.model)
    decoder = OnnxDecoder(OnnxGraph(tiny_export / "model.onnx"), OnnxDecoderConfig.of(step.config))
    from pipelines.answering.model_directory import load_model

    assert largest_error(load_model("tiny").model, decoder) < 1e-4
    about = json.loads((tiny_export / "export.json").read_text())
    assert about["exported_from"]["fingerprint"] == there.tokenizer.fingerprint
    assert about["figures"]["image_same_codes"] == "100.00%"
    assert here.tokenizer.fingerprint != there.tokenizer.fingerprint


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(tiny_export, tmp_path):
    again = export_onnx("tiny", tmp_path / "again").folder
    for name in ("dvse.json", "model.onnx", "image/codes.onnx", "audio/codes.onnx"):
        assert (again / name).read_bytes() == (tiny_export / name).read_bytes()


@pytest.mark.slow
def test_an_export_is_made_once_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DVSE_CACHE", str(tmp_path / "cache"))
    model = save_small_model(tmp_path / "small")
    (tmp_path / "hello.txt").write_text("hello")
    words = ["tokenize", str(tmp_path / "hello.txt"), "--bundle", str(model), "--runtime", "onnx"]
    for number, notes in ((1, 1), (2, 0)):
        assert main([*words, "--output", str(tmp_path / f"out{number}"), "--workers", "0"]) == 0
        assert capsys.readouterr().err.count("exporting") == notes
    profile = json.loads((tmp_path / "out1/.job/job.json").read_text())["profile"]
    assert "onnxruntime" in profile["versions"] and "torch" not in profile["versions"]
    # The same job in torch is another one.
    assert main([*words[:4], "--output", str(tmp_path / "out1"), "--workers", "0"]) == 4


def test_what_cannot_be_exported(tmp_path, random_model, monkeypatch):
    """One sentence, before a weight is read: the weights here are none."""
    import shutil

    def spoilt(**changes):
        folder = shutil.copytree(random_model, tmp_path / "model", dirs_exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    def refused(match, name, **settings):
        with pytest.raises(ConfigError, match=match):
            export_onnx(name, tmp_path / "out", OnnxSettings(**settings))
        assert not (tmp_path / "out").exists()

    refused("quantized by torch's kernels", spoilt(quantization_config={"bits": 8}))
    bundle = tmp_path / "bundle"
    dvse.load("tiny").save(bundle)
    refused("has no decoder", bundle, weights="int8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="new or empty"):
        export_onnx(bundle, tmp_path / "full")
    monkeypatch.setattr(onnx_export, "traced", lambda module: None)
    monkeypatch.setattr(onnx_export, "write", lambda model, path: None)
    monkeypatch.setattr(onnx_export, "codes_agreement", lambda *given: 0.5)
    with pytest.raises(BundleIntegrityError, match=r"does not agree.*50\.0%"):
        export_onnx(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
