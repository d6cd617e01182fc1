"""A quantized model directory: judged first, written whole, its figures in the card."""

import json
import shutil

import pytest
import torch

from dvse.storage.finding import SHIPPED
from dvse.storage.shard import read_shard
from model import DvseConfig, DvseForCausalLM
from model.quantized_linear import Int4Linear
from pipelines import Captioner
from pipelines.answering.model_directory import load_model, save_model
from pipelines.cli import main
from pipelines.training.decoder import quantizing


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Who are you?"},
                {"role": "assistant", "content": f"I am {name}."},
            ]
        }
        for name in ("tiny", "small", "a model")
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["tokenize", str(folder / "chat.jsonl"), "--output", str(folder / "tokens")]
    assert main([*words, "--workers", "0", "--quiet"]) == 0
    return folder / "tokens"


def test_the_shipped_decoder_in_four_bits(held_out, tmp_path, capsys):
    words = ["quantize", "tiny", "--to", "int4", "--tokens", str(held_out)]
    words += ["--max-loss-increase", "0.5", "--output", str(tmp_path / "small")]
    assert main(words) == 0
    about = json.loads((tmp_path / "small" / "quantization.json").read_text())
    before, after = about["weight_bytes"]
    table = 12_672 * 256 * 4  # stays as it is: more than half of all
    assert after - table < 0.15 * (before - table)
    assert about["settings"]["group_size"] == 64  # 704 = 11 · 64 weights a row
    assert about["loss_increase"] == pytest.approx(
        about["answer_loss"][1] / about["answer_loss"][0] - 1, abs=2e-3
    )
    card = (tmp_path / "small" / "README.md").read_text()
    assert "## 4 bits a weight" in card and f"| weights | {before / 1e6:.1f} MB |" in card
    model = DvseForCausalLM.from_pretrained(tmp_path / "small")
    assert isinstance(model.model.layers[0].self_attn.q_proj, Int4Linear)
    assert Captioner.load(tmp_path / "small").tokenizer.name == "tiny"


def test_a_model_that_loses_too_much_is_not_written(held_out, tmp_path, capsys):
    words = ["quantize", "tiny", "--to", "int4", "--tokens", str(held_out)]
    words += ["--max-loss-increase", "-0.9", "--output", str(tmp_path / "small")]
    assert main(words) == 3
    assert not (tmp_path / "small").exists()
    assert "MISSED: the loss of held-out answers grows by" in capsys.readouterr().out
    assert main([*words, "--write-anyway"]) == 0
    about = json.loads((tmp_path / "small" / "quantization.json").read_text())
    assert len(about["misses"]) == 1


def test_gates_words_and_calibration(held_out, tmp_path, capsys):
    """A gated model: flips are counted and bounded, captions of labelled data are too."""
    pytest.importorskip("jiwer")
    loaded = load_model("tiny")
    fields = loaded.model.config.to_dict() | {"use_token_gate": True}
    gated = DvseForCausalLM(DvseConfig(**fields))
    gated.load_state_dict(loaded.model.state_dict(), strict=False)
    torch.manual_seed(0)
    gated.eval()
    row = read_shard(held_out / "shard-000000.parquet", columns=["ids"])["ids"][0].as_py()
    for number, layer in enumerate(gated.model.layers):
        torch.nn.init.normal_(layer.token_gate.weight, std=0.05)
        torch.nn.init.zeros_(layer.token_gate.bias)
        # Around their thresholds: small errors decide.
        with torch.no_grad():
            logits = gated(torch.tensor([row]), output_gate_logits=True).gate_logits
            layer.token_gate.bias -= logits[number].median()
    folder = save_model(gated, "tiny", tmp_path / "gated")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("cat.png", "house.png"):
        shutil.copy(SHIPPED / "tiny/samples" / name, data / name)
    (data / "labels.jsonl").write_text(
        "".join(f'{{"image_filepath": "{n}.png", "label": "{n}"}}\n' for n in ("cat", "house"))
    )
    (data / "evaluation.json").write_text(
        json.dumps(
            {
                "image": {
                    "path": "labels.jsonl",
                    "label": "label",
                    "caption": "a photo of {a_label}",
                    "splits": {"all": {}},
                }
            }
        )
    )
    words = ["quantize", str(folder), "--to", "int4", "--tokens", str(held_out)]
    words += ["--data", str(data), "--max-loss-increase", "9"]
    words += ["--max-accuracy-loss", "1", "--max-word-error-increase", "9"]
    assert main([*words, "--max-gate-flips", "0", "--output", str(tmp_path / "small")]) == 3
    assert "of the gates decide otherwise, wanted at most 0.0%" in capsys.readouterr().out
    assert main([*words, "--max-gate-flips", "1", "--output", str(tmp_path / "plain")]) == 0
    plain = json.loads((tmp_path / "plain" / "quantization.json").read_text())
    words += ["--max-gate-flips", "1", "--calibrate", str(held_out)]
    assert main([*words, "--output", str(tmp_path / "small")]) == 0
    about = json.loads((tmp_path / "small" / "quantization.json").read_text())
    assert 0 < plain["gates_that_flip"] < 0.5
    assert 0 <= about["gates_that_flip"] < 0.5
    assert about["answer_loss"][0] == plain["answer_loss"][0] != about["answer_loss"][1]
    assert set(about["word_error_rate"]) == set(about["accuracy"]) == {"image all"}
    assert about["settings"]["calibration_rows"] == 128
    card = (tmp_path / "small" / "README.md").read_text()
    for words in ("gates that decide otherwise", "word error, image all", "(GPTQ)"):
        assert words in card


def test_what_is_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantizing, "load_model", None)  # no weights are asked for
    words = ["quantize", "tiny", "--to", "int4", "--output", str(tmp_path / "small")]
    assert main(words) == 2
    assert "--tokens" in capsys.readouterr().err
    assert main([*words, "--group-size", "96", "--write-anyway"]) == 2
    assert "group_size must be one of [32, 64, 128, 256]" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_what_it_is_judged_by_and_where_it_goes_come_before_weights(
    random_model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(quantizing, "load_model", None)
    model = shutil.copytree(random_model, tmp_path / "model")
    (tmp_path / "empty").mkdir()
    words = ["quantize", str(model), "--to", "int8", "--output"]
    before = (model / "model.safetensors").read_bytes()
    assert main([*words, str(model), "--write-anyway"]) == 2
    assert "expected another directory than the model's" in capsys.readouterr().err
    assert (model / "model.safetensors").read_bytes() == before
    for option in ("--tokens", "--calibrate"):
        more = [str(tmp_path / "small"), "--write-anyway", option, str(tmp_path / "empty")]
        assert main([*words, *more]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "expected shard-*.parquet written by dvse tokenize, found none" in line
