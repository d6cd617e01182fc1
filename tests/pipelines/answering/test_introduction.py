"""What a model's card says of it, good cards and others."""

import pytest

from dvse.storage.finding import SHIPPED
from pipelines.answering.introduction import Introduction, introduction_of
from pipelines.tiny.conversations.asides import REFUSALS
from pipelines.tiny.samples import make_samples


def test_the_shipped_model(tmp_path):
    found = introduction_of(SHIPPED / "tiny")
    assert found.knows.startswith("Ten kinds of 32×32 pictures")
    assert set(found.refusals) == {words for kind in REFUSALS.values() for words in kind.values()}
    make_samples(tmp_path)
    assert len(found.samples) == 3
    for sample in found.samples:
        assert sample.file.read_bytes() == (tmp_path / sample.file.name).read_bytes()


@pytest.mark.parametrize(
    "card",
    [None, "", "no front matter", "---\nwidget: 3\nrefusals: x\n---\n", "---\n: [\n---\n# x\n"],
)
def test_cards_that_say_nothing(tmp_path, card):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert introduction_of(tmp_path) == Introduction()


def test_samples_that_lie_elsewhere_are_left_out(tmp_path, caplog):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "large.wav").write_bytes(b"0" * 2_000_001)
    (folder / "fine.png").write_bytes(b"x")
    (folder / "README.md").write_text(
        "---\nwidget:\n- src: ../secret.png\n- src: /etc/passwd\n- src: none.png\n"
        "- src: large.wav\n- text: hello\n- src: fine.png\n---\n"
    )
    assert [s.title for s in introduction_of(folder).samples] == ["fine"]
    assert "secret.png" in caplog.text
