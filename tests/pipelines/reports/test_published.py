"""What systems published stands beside the figures that an evaluation found."""

import pytest

from pipelines.reports.published import beside, read_published

METRICS = {
    "image": {
        "usage": [{"share_used": 0.9}, {"share_used": 0.8}],
        "psnr_db": 21.5,
        "ssim": 0.7,
        "lpips": 0.1,
        "rfid": 40.0,
        "rfid_pictures": 200,
    },
    "audio": {
        "usage": [{"perplexity": 100.0}],
        "bitrate": {"bits_per_s": 380.0},
        "words": {"abx_error": 0.05},
        "splits": {
            "dev.clean": {
                "file_label_nmi": 0.6,
                "abx_error": 0.1,
                "phones": {"pnmi": 0.5, "phone_purity": 0.6, "cluster_purity": 0.1},
                "item_abx": {"within": {"units": 0.07, "features": 0.05}, "items": 9},
            }
        },
    },
}


def test_each_figure_that_somebody_published_has_it_beside_it():
    split = "audio.splits.dev.clean"
    found = beside(METRICS)
    assert set(found) == {
        *("image.usage.0.share_used", "image.usage.1.share_used", "image.psnr_db", "image.ssim"),
        *("image.lpips", "image.rfid", "audio.usage.0.perplexity", "audio.bitrate.bits_per_s"),
        *("audio.words.abx_error", f"{split}.file_label_nmi", f"{split}.abx_error"),
        *(f"{split}.phones.{n}" for n in ("pnmi", "phone_purity", "cluster_purity")),
        f"{split}.item_abx.within.units",
    }
    assert found["image.usage.1.share_used"]["here"] == 0.8
    hubert = {"value": 0.614, "system": "HuBERT-base, layer 6"}
    assert hubert in found[f"{split}.phones.pnmi"]["reached"]
    assert "not of phones" in found[f"{split}.file_label_nmi"]["unlike"]


def test_every_metric_of_the_table_is_one_that_is_found():
    every = {pattern for one in read_published() for pattern in one.metrics}
    across = {"splits": {"a": {"item_abx": {"across": {"units": 0.1}}}}}
    places = [*beside(METRICS), *beside({"audio": across})]
    for pattern in every:
        begin, _, end = pattern.partition("*")
        assert any(place.startswith(begin) and place.endswith(end) for place in places), pattern


@pytest.mark.parametrize("one", read_published(), ids=lambda one: one.figure)
def test_values_are_in_the_unit_of_the_metric(one):
    assert one.data and len(one.reached) > 2
    assert len({reached.system for reached in one.reached}) == len(one.reached)
    highest = 1 if one.is_share or one.figure in ("SSIM", "LPIPS") else 1000
    assert all(0 < reached.value <= highest for reached in one.reached)
