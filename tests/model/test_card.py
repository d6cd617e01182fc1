import pytest

from model import preset
from model.card import CardSettings, model_card
from model.errors import CheckpointError, ModelConfigError
from pipelines.cli import main


@pytest.mark.parametrize("name", ["tiny", "9b", "9b-moe"])
def test_presets(name, capsys):
    assert main(["model-card", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{name}: ")
    for words in ("parameters", "fp16", "int4", "keys and values", "18% less", "two cards"):
        assert words in text


def test_the_figures_of_9b():
    text = model_card("9b")
    assert "9,399,951,360" in text
    assert "18,799,902,720   17.51 GiB" in text
    assert "40,960" in text
    assert "130,842 / 15 at once" in text


def test_a_directory(tmp_path):
    preset("tiny", vocab_size=640, use_token_gate=True).save_pretrained(tmp_path)
    text = model_card(tmp_path)
    assert "640 ids" in text and "token gates" in text


def test_small_cards_and_bad_settings():
    assert "does not fit" in model_card("9b", CardSettings(card_gib=8))
    with pytest.raises(ModelConfigError, match="more than"):
        CardSettings(card_gib=1)
    with pytest.raises(CheckpointError, match="tiny, 9b, 9b-moe"):
        model_card("nothing")


def test_one_line_on_the_terminal(capsys):
    assert main(["model-card", "nothing"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
