"""Codes that authors print for files of their own, against ours of the bundle of that name.

Weights come by the name alone, as a user has them. With `DVSE_GOLDEN_MEDIA` media come from a
folder instead of from where they are published; LJSpeech is published as one archive of all
recordings, so `LJ003-0001.wav`, at 16 kHz, has to lie there.
"""

import json
import os
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

import dvse
from dvse.audio.windows import FrameGrid
from pipelines.registry.registry import SHIPPED, Registry

PUBLISHED = json.loads((Path(__file__).parent / "golden" / "published_codes.json").read_text())
names = pytest.mark.parametrize(
    "published", PUBLISHED, ids=lambda one: f"{one['bundle']}-{Path(one['media']).stem}"
)


def medium(published, folder):
    name = Path(published["media"]).name
    if own := os.environ.get("DVSE_GOLDEN_MEDIA"):
        folder = Path(own)
    elif published["media"].startswith("https://"):
        urllib.request.urlretrieve(published["media"], folder / name)
    if not (folder / name).is_file():
        pytest.skip(f"put {name} into a folder and name that in DVSE_GOLDEN_MEDIA")
    return folder / name


@pytest.mark.network
@pytest.mark.timeout(7200)
@names
def test_the_codes_that_the_authors_print(published, tmp_path):
    path = medium(published, tmp_path)
    tokenizer = dvse.load(published["bundle"])
    is_picture = path.suffix.lower() in (".jpeg", ".png")
    encoding = tokenizer.encode(dvse.Image(path) if is_picture else dvse.Audio(path))
    (segment,) = tokenizer.decode(encoding.ids, render=False)
    codes = (segment.codes if is_picture else segment.units).reshape(-1).tolist()
    wanted = published["codes"]
    if published["bundle"].startswith("seamless"):  # the first ones are on record
        codes = codes[: len(wanted)]
    assert codes == wanted
    if "durations" in published:
        assert encoding.durations.tolist() == published["durations"]


@names
def test_each_of_them_can_be_what_its_bundle_gives(published):
    """How many there may be, and which: read off what the registry says of the bundle."""
    entry, codes = Registry.load(SHIPPED)[published["bundle"]], published["codes"]
    number = {"beit2-vqkd-clip": 8192, "titok-l-32": 4096, "seamless-xlsr2-km10k": 10_000}
    assert 0 <= min(codes) and max(codes) < number.get(entry.name, 500)
    if entry.name == "beit2-vqkd-clip":
        assert len(codes) == (entry.settings["size"] // 16) ** 2
    if entry.name == "titok-l-32":
        assert len(codes) == 32
    if entry.settings.get("merge_repeats"):
        assert all(one != other for one, other in pairwise(codes))
        assert len(published["durations"]) == len(codes) and min(published["durations"]) >= 1
        # The convolutions of its encoder, 25 frames a second.
        grid = FrameGrid.of([10, 3, 3, 3, 3, 2, 2, 2], [5, 2, 2, 2, 2, 2, 2, 2])
        num_samples = published["num_samples"] + 2 * entry.settings["pad_samples"]
        assert sum(published["durations"]) == grid.num_frames(num_samples)
