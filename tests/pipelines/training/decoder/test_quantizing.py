"""A quantized model directory: judged first, written whole, its figures in the card."""

import json

import pytest

from model import DvseForCausalLM
from model.quantized_linear import Int4Linear
from pipelines import Captioner
from pipelines.cli import main


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
    assert after < 0.6 * before
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


def test_what_is_refused_before_anything_is_read(tmp_path, capsys):
    words = ["quantize", "tiny", "--to", "int4", "--output", str(tmp_path / "small")]
    assert main(words) == 2
    assert "--tokens" in capsys.readouterr().err
    assert main([*words, "--group-size", "96", "--write-anyway"]) == 2
    assert "group_size must be one of [32, 64, 128, 256]" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
