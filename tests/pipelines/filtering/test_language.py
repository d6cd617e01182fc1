"""Languages of captions, and texts that are inputs themselves."""

import pytest
from filter_rows import read, row, run, write

from pipelines.filtering.row_judge import RowJudge

pytest.importorskip("py3langid")

from pipelines.filtering.language import LanguageFilter

CAPTIONS = {
    "en": [
        "a brown dog runs over the wet grass with a ball",
        "two women are sitting on a bench in front of a shop",
        "a red double decker bus drives down the street",
    ],
    "de": [
        "ein brauner Hund läuft mit einem Ball über das nasse Gras",
        "zwei Frauen sitzen auf einer Bank vor einem Geschäft",
        "ein roter Doppeldeckerbus fährt die Straße hinunter",
    ],
    "fr": [
        "un chien brun court sur l'herbe mouillée avec une balle",
        "deux femmes sont assises sur un banc devant un magasin",
    ],
    "zh": ["一只棕色的狗叼着球跑过湿漉漉的草地", "两个女人坐在商店前面的长椅上"],
}


@pytest.mark.parametrize("language", CAPTIONS)
def test_captions_of_wanted_languages_stay_and_others_go(language):
    kind = LanguageFilter(allowed=(language,))
    for name, texts in CAPTIONS.items():
        for text in texts:
            refusal = kind.judge({"text": text})
            assert (refusal is None) == (name == language), (name, text, refusal)
            if refusal is not None:
                assert refusal.reason.startswith(f"{name} with a probability of ")
                assert refusal.reason.endswith(f"{language} wanted")
                assert 0.5 < refusal.score <= 1


def test_what_is_too_short_or_no_text_passes():
    kind = LanguageFilter(allowed=("de",))
    assert kind.judge({"text": None}) is None
    assert kind.judge({"text": "IMG_2034.jpg 1200"}) is None
    assert kind.judge({"text": "Nikon D750 f/2.8 bokeh portrait"}) is None


def test_several_languages_may_be_wanted():
    kind = LanguageFilter(allowed=("en", "de"), most=0.1)
    assert all(kind.judge({"text": t}) is None for t in (*CAPTIONS["en"], *CAPTIONS["de"]))


def test_finished_shards_are_judged_by_their_captions(tmp_path):
    tokens = write(
        tmp_path / "t", [[row("a", text=CAPTIONS["en"][0]), row("b", text=CAPTIONS["fr"][0])]]
    )
    assert run(tokens, tmp_path / "out", "[language]\nallowed = ['en']\n") == 0
    assert [line["id"] for line in read(tmp_path / "out", "filtered")] == ["b"]


def test_texts_that_are_inputs_are_read_from_their_ids():
    said = {1: CAPTIONS["fr"][0], 2: CAPTIONS["en"][0]}
    judge = RowJudge([LanguageFilter(allowed=("en",))], decode_text=lambda ids: said[ids[0]])
    rows = [row("a", ids=[1]), row("b", ids=[2]), row("c", ids=[1], modality="mixed")]
    verdicts = [judge.judge(one) for one in rows]
    assert [v and v.filter for v in verdicts] == ["language", None, None]
