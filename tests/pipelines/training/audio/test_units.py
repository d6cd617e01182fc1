"""Units of an encoder at hand: same seed, same centroids, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_hubert import save_small_hubert, write_recordings

from dvse.errors import BundleNotFoundError, TrainingError
from pipelines.codebooks.clustering import Clustering
from pipelines.codebooks.kmeans import KMeansSettings
from pipelines.training.audio.settings import (
    PublishedEncoder,
    UnitFeatures,
    UnitRecipe,
)
from pipelines.training.audio.units import audio_files, train_units


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_hubert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "recordings")


def test_the_same_seed_gives_the_same_centroids(
    encoder: Path, recordings: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(encoder, recordings, layer=2, max_features=50)
    for name in ("one", "two"):
        train_units(recipe, tmp_path / name)
    one, two = ((tmp_path / n / "codebook.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


def test_data_that_cannot_be_trained_on(encoder: Path, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="found none"):
        audio_files([tmp_path / "empty"])
    with pytest.raises(BundleNotFoundError, match="directory with a transformers model"):
        train_units(recipe_of(tmp_path / "no", recordings), tmp_path / "x")
    with pytest.raises(TrainingError, match="none of 1 recordings could be read"):
        train_units(recipe_of(encoder, recordings / "broken.ogg"), tmp_path / "x")
    with pytest.raises(TrainingError, match="5000"):
        train_units(recipe_of(encoder, recordings, num_codes=5_000), tmp_path / "x")
    soundfile.write(tmp_path / "silence.wav", np.zeros(60_000), 16_000)
    with pytest.raises(TrainingError, match="silence"):
        train_units(recipe_of(encoder, tmp_path / "silence.wav"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def recipe_of(
    encoder: Path, data: Path, *, layer: int = 1, num_codes: int = 8, max_features: int = 100_000
) -> UnitRecipe:
    return UnitRecipe(
        data=(data,),
        encoder=PublishedEncoder(name=str(encoder)),
        units=UnitFeatures(layer=layer),
        clustering=Clustering(
            kmeans=KMeansSettings(num_codes=num_codes), max_features=max_features
        ),
    )
