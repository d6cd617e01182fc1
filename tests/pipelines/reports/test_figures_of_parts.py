"""What `dvse inspect` and the card say of a part: how it scales, and what long recordings lose."""

from dvse.storage.bundle import Section
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.training.bundle_card import with_figures


def test_a_bundle_by_its_name(capsys):
    assert main(["inspect", "tiny"]) == 0
    text = capsys.readouterr().out
    assert "each stretch to mean 0 and variance 1, epsilon 1e-07" in text
    assert "figures  units.known: frames" in text


def test_a_part_and_its_figures(tmp_path, capsys):
    encoder = {"architecture": "hubert", "layer": 6, "normalize": True, "config": {"a": 1}}
    spec = {
        "sample_rate_hz": 16_000,
        "windows": {"chunk_samples": 1_600_000},
        "encoder": encoder | {"normalize_over": "recording", "variance_floor": 1e-5},
        "merge_repeats": False,
    }
    figures = {"long_recordings": {"window_share": 0.12, "units": 10}}
    Part(modality="audio", folder=tmp_path, spec=spec, metrics=figures).save()
    assert main(["inspect", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "the whole recording to mean 0 and variance 1, epsilon 1e-05" in text
    assert "figures  long_recordings: window_share 0.12, units 10" in text


def test_the_card_says_it_once_and_of_the_part_that_is_there():
    figures = {"window_share": 0.1234, "units": 4500, "recordings": 3, "seconds_each": 90.0}
    audio = {"audio": Section(spec={}, metrics={"long_recordings": figures | {"how": "so"}})}
    card = with_figures("# Mine\n", audio)
    assert card.startswith("# Mine\n\n## Long recordings\n\n12.3 % of the units")
    assert with_figures(card, audio) == card
    assert with_figures(card, {}) == "# Mine\n"
    assert with_figures("# Mine\n", {"audio": Section(spec={})}) == "# Mine\n"
