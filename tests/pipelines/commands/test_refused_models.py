"""Models that no door lets in: one sentence each, before a weight of the decoder is read.

The files of weights here are zeros: whoever opened one would say that it is no safetensors file,
and whoever went on would leave something behind.
"""

import json
import shutil

import pytest
from small_model import make_decoder, save_small_model

from dvse.errors import DvseError
from dvse.storage.finding import SHIPPED
from pipelines.answering.adapters import FILE
from pipelines.answering.captioner import Captioner
from pipelines.answering.model_directory import load_model, save_model
from pipelines.cli import main
from pipelines.server import process
from pipelines.server.loading import load_served
from pipelines.server.settings import LoadingConfig

CAT = str(SHIPPED / "tiny/samples/cat.png")
GONE = "/nowhere/at/all"
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}


def unreadable(folder):
    for file in folder.glob("*.safetensors"):
        file.write_bytes(bytes(file.stat().st_size))
    return folder


def with_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model directories by what is wrong with them."""
    root = tmp_path_factory.mktemp("models")
    plain = save_small_model(root / "plain")
    unreadable(plain)

    def copy(name):
        return shutil.copytree(plain, root / name)

    found = {"plain": plain}
    found["family"] = with_config(copy("family"), model_type="llama")
    found["gptq"] = with_config(
        copy("gptq"), quantization_config={"quant_method": "of tomorrow", "bits": 4}
    )
    found["groups"] = with_config(
        copy("groups"),
        quantization_config={"quant_method": "dvse_weight_only", "bits": 4, "group_size": 64},
    )
    for name in ("lora", "peft"):
        found[name] = copy(name)
        (found[name] / "config.json").unlink()
        (found[name] / "model.safetensors").rename(found[name] / "adapter_model.safetensors")
        (found[name] / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{GONE}"}}')
    base = {"format": "dvse-adapter", "format_version": 1, "source": GONE, "sha256": "00"}
    (found["lora"] / FILE).write_text(json.dumps({**base, "bundle_fingerprint": "00"}))
    found["alone"] = root / "alone"  # as PEFT leaves it, without a bundle
    found["alone"].mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(found["peft"] / name, found["alone"] / name)
    found["experts"] = unreadable(save_model(make_decoder(**EXPERTS), "tiny", root / "experts"))
    return found


WORDS = {
    "family": "expected a config.json of model_type dvse, glm, glm4, glm4_moe, got 'llama'",
    "lora": f"holds adapters of the decoder {GONE}, which is not there",
    "peft": f"holds adapters of the decoder {GONE} as PEFT writes them, and no decoder",
    "alone": f"holds adapters of the decoder {GONE} as PEFT writes them, and no decoder",
}
QUANTIZED = {
    "gptq": "quantized by of tomorrow, which cannot run here",
    "groups": "group_size must be one of [32] for rows of 32 weights, got 64",
}
DOORS = {
    "caption": ["caption", CAT, "--model", "{model}"],
    "caption, onnx": ["caption", CAT, "--runtime", "onnx", "--model", "{model}"],
    "quantize": ["quantize", "{model}", "--to", "int8", "--write-anyway", "--output", "{out}"],
    "onnx": ["export", "onnx", "{model}", "{out}"],
    "executorch": ["export", "executorch", "{model}", "{out}"],
    "coreml": ["export", "coreml", "{model}", "{out}"],
    "tensorrt": ["export", "tensorrt", "{model}", "{out}"],
}


def refused(words, model, tmp_path, capsys):
    """Return what a command says as it refuses a model: one line, and nothing is left behind."""
    out = tmp_path / "out"
    capsys.readouterr()
    code = main([word.format(model=model, out=out) for word in words])
    told = capsys.readouterr().err.splitlines()
    assert code in (1, 2) and not out.exists()
    assert len(told) == 1, told
    return told[0]


@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_decoder_of_ours(door, models, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DVSE_CACHE", str(tmp_path / "cache"))
    for kind, words in WORDS.items():
        assert words in refused(DOORS[door], models[kind], tmp_path, capsys), kind
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", [*WORDS, *QUANTIZED])
def test_from_python_and_by_the_server(kind, models, monkeypatch):
    model, words = str(models[kind]), {**WORDS, **QUANTIZED}[kind]
    doors = [
        lambda: load_model(model),
        lambda: Captioner.load(model),
        lambda: load_served(LoadingConfig(model=model)),
    ]
    if kind in WORDS:
        monkeypatch.setattr(process, "become_group", None)  # nobody comes so far
        split = LoadingConfig(model=model, tensor_parallel=2)
        doors.append(lambda: process.start_processes(split, []))
        # The model itself could not be loaded either; its guesses are looked at first.
        guessed = LoadingConfig(model=str(models["plain"]), draft=model)
        doors.append(lambda: load_served(guessed))
    for door in doors:
        with pytest.raises(DvseError) as raised:
            door()
        assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", QUANTIZED)
def test_what_is_quantized(kind, models, tmp_path, capsys):
    told = refused(DOORS["caption"], models[kind], tmp_path, capsys)
    assert QUANTIZED[kind] in told
    for door in ("onnx", "executorch", "coreml"):
        told = refused(DOORS[door], models[kind], tmp_path, capsys)
        assert "quantized by torch's kernels, which no other runtime has" in told
    assert "quantized already" in refused(DOORS["quantize"], models[kind], tmp_path, capsys)
    split = LoadingConfig(model=str(models[kind]), tensor_parallel=2)
    with pytest.raises(DvseError, match="its weights are quantized, and these are not split"):
        process.start_processes(split, [])


def test_groups_that_do_not_divide(models, tmp_path, capsys):
    """Rows of 48 weights: by 16 alone."""
    to_int4 = ["quantize", "{model}", "--to", "int4", "--write-anyway", "--output", "{out}"]
    told = refused(to_int4, models["plain"], tmp_path, capsys)
    assert "no group size among (32, 64, 128, 256) divides rows of [32, 48] weights" in told
    told = refused([*to_int4, "--group-size", "32"], models["plain"], tmp_path, capsys)
    assert "for rows of 48 weights, got 32" in told
    told = refused([*DOORS["caption"], "--quantize", "int4"], models["plain"], tmp_path, capsys)
    assert "no group size among" in told
    with pytest.raises(DvseError, match="no group size among"):
        load_served(LoadingConfig(model=str(models["plain"]), quantize="int4"))
    told = refused([*DOORS["executorch"], "--weights", "int4"], models["plain"], tmp_path, capsys)
    assert "groups of 32 weights do not divide its rows of 48; take --weights float32" in told


def test_experts_for_targets_that_have_none(models, tmp_path, capsys):
    for door, target in (("executorch", "ExecuTorch"), ("coreml", "Core ML")):
        told = refused(DOORS[door], models["experts"], tmp_path, capsys)
        assert "has 4 experts a layer, and no graph that runs only those that a token" in told
        assert target in told
    told = refused(DOORS["tensorrt"], models["experts"], tmp_path, capsys)
    assert "expected what dvse export onnx wrote, received a model or bundle for torch" in told
    export = shutil.copytree(models["experts"], tmp_path / "export")
    (export / "model.onnx").write_bytes(b"no graph")
    told = refused(DOORS["tensorrt"], export, tmp_path, capsys)
    assert "has 4 experts a layer" in told and "TensorRT" in told


def test_too_little_memory(models, tmp_path, capsys, monkeypatch):
    """The decoder is 0.31 M values: 1.2 MB in single precision."""
    from pipelines.answering import room

    weights = (models["plain"] / "model.safetensors").stat().st_size
    per_token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, their width, single precision
    assert room.weight_bytes(models["plain"]) == weights
    assert room.weight_bytes(models["plain"], "bfloat16") == weights // 2
    assert room.weight_bytes(models["plain"], "float64") == weights * 2

    def free(size):
        monkeypatch.setattr(room, "available_bytes", lambda: size)

    free(weights + 100 * per_token)
    longer = [*DOORS["caption"], "--max-new-tokens", "101"]
    told = refused(longer, models["plain"], tmp_path, capsys)
    assert "for 101 tokens" in told and "are free on cpu" in told
    room.check_room(models["plain"], num_tokens=100)
    told = refused([*DOORS["executorch"], "--context", "300"], models["plain"], tmp_path, capsys)
    assert "for 300 tokens" in told
    assert "needs" in refused(DOORS["quantize"], models["plain"], tmp_path, capsys)  # two of them
    free(weights - 1)
    for door in ("caption", "onnx", "executorch", "coreml"):
        told = refused(DOORS[door], models["plain"], tmp_path, capsys)
        assert "GiB for weights" in told and "are free on cpu" in told
    with pytest.raises(DvseError, match="GiB for weights"):
        load_model(models["plain"])


def test_a_cache_that_holds_no_prompt(models, monkeypatch):
    from pipelines.server.settings import BatchingLimits

    limits = BatchingLimits(cache_gib=1e-6)  # a thousand bytes
    with pytest.raises(DvseError, match=r"holds \d tokens of this model; raise --cache-gib"):
        load_served(LoadingConfig(model=str(models["plain"]), limits=limits))
