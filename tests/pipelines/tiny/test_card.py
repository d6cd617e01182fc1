"""The model card: figures where they belong, and the shipped one true to its decoder."""

import json
from pathlib import Path

import dvse
from model import preset
from model.sizes import count_parameters
from pipelines.tiny.card import figure_table, model_card, odd_text

SPEECH = {
    "digits": 200,
    "digit_accuracy": 0.94,
    "sequences": 60,
    "word_error_en": 0.051,
    "word_error_zh": 0.06,
    "sum_thinking_of_heard_en": 0.9,
    "sum_thinking_of_heard_zh": 0.8,
    "sum_thinking_en": 0.7,
    "sum_thinking_zh": 0.6,
    "sum_plain_of_heard_en": 0.2,
    "sum_plain_of_heard_zh": 0.1,
    "sum_plain_en": 0.15,
    "sum_plain_zh": 0.05,
}
FIGURES = {
    "pictures": {"inputs": 1000, "accuracy_en": 0.7412, "accuracy_zh": 0.75},
    "mosaics": {"inputs": 500, "tiles_en": 0.6, "tiles_zh": 0.61},
    "known": SPEECH,
    "unknown": SPEECH,
}


def test_each_figure_stands_beside_what_was_wanted():
    lines = figure_table(FIGURES).splitlines()
    assert "| class of a picture, 1000 pictures | 74.1 % | 75.0 % | 75 % |" in lines
    assert "| tiles right in their place, 500 mosaics | 60.0 % | 61.0 % | 60 % |" in lines
    assert "| word error, unknown, 60 sequences | 5.1 % | 6.0 % | 5 % |" in lines
    assert "| single digits, known speakers, 200 | 94.0 % | | 95 % |" in lines
    assert len({line.count("|") for line in lines}) == 1


ODD = {
    "identity": {
        f"{name}_{language}{way}": 10
        for language in ("en", "zh")
        for name, ways in (("seeds_right", ("",)), ("paraphrases_right", ("", "_thinking")))
        for way in ways
    },
    "texts": {
        "prompts": 2000,
        "endless": 1,
        "empty": 0,
        "broken": 2,
        "mixed": 3,
        "other_language": 4,
        "refused": 9,
    },
    "sums": {"asked": 100, "right_plain": 90, "right_plain_thinking": 100},
    "odd_pictures": {"of_each": 200, "drawing_32": 0.915},
    "odd_recordings": {"of_each": 200, "music": 1.0},
    "true_inputs_refused": {"digits_known": 0.012},
}


def test_odd_figures_are_added_up_and_told():
    lines = odd_text(ODD).splitlines()
    assert any("2000 odd prompts | 6 | 0 |" in line for line in lines)  # 1 + 0 + 2 + 3
    assert "| answers in the other language than asked in, the same prompts | 4 | 0 |" in lines
    assert any("in each of six ways | 95.0 % |" in line for line in lines)
    assert "| odd pictures: drawing 32, refused | 91.5 % | 90 % |" in lines
    assert "| true digits, known, refused | 1.2 % | at most 3 % |" in lines
    config = preset("tiny").to_dict()
    assert "odd prompts" in model_card(config, {**FIGURES, "odd": ODD}, 5_300_000)


def test_the_card_says_what_it_is_not_for():
    config = preset("tiny")
    card = model_card(config.to_dict(), FIGURES, count_parameters(config).total)
    assert "6.1 million parameters\n(4 layers" in card
    assert "What it is not for" in card and "airplane" in card


def test_the_shipped_card_is_of_the_shipped_decoder():
    folder = Path(dvse.__file__).parent / "bundles" / "tiny"
    config = json.loads((folder / "config.json").read_text())
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"({config['num_hidden_layers']} layers of width {config['hidden_size']}" in card
    assert ("token gates on" in card) == config["use_token_gate"]


def test_the_shipped_decoder_keeps_its_cache():
    folder = Path(dvse.__file__).parent / "bundles" / "tiny"
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text())["use_cache"]
