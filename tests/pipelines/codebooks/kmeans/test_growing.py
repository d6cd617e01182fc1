"""A codebook that grows: the old centroids to the last bit, the new ones where they help."""

import numpy as np
import pytest
import torch

from dvse.errors import ConfigError, TrainingError
from pipelines.codebooks.kmeans import ArrayFeatures, KMeansSettings, make_fitter, train_codebook
from pipelines.codebooks.kmeans.growing_lloyd import GrowingLloyd

RNG = np.random.default_rng(1)


def blobs(centres, count=60, spread=0.05):
    rows = np.repeat(np.asarray(centres, np.float32), count, axis=0)
    return (rows + spread * RNG.standard_normal(rows.shape)).astype(np.float32)


def test_new_centroids_go_where_the_old_ones_are_far():
    rows = blobs([[0, 0], [4, 0], [0, 4], [4, 4]])
    kept = torch.tensor([[[0.1, 0.0], [4.0, -0.1]]])
    fit = train_codebook(ArrayFeatures(rows), KMeansSettings(num_codes=4), kept=kept)
    found = fit.codebook.centroids[0]
    assert torch.equal(found[:2], kept[0])
    new = sorted(found[2:].round().tolist())
    assert new == [[0.0, 4.0], [4.0, 4.0]]
    means = [rows[120:180].mean(0), rows[180:].mean(0)]
    order = found[2:][:, 0].argsort()
    np.testing.assert_allclose(found[2:][order].numpy(), means, atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_old_centroids_stay_to_the_last_bit_on_every_level(offset):
    rows = blobs(RNG.standard_normal((9, 6)) + offset)
    first = train_codebook(ArrayFeatures(rows), KMeansSettings(num_codes=4, num_levels=2))
    kept = first.codebook.centroids
    settings = KMeansSettings(num_codes=9, num_levels=2)
    grown = train_codebook(ArrayFeatures(rows), settings, kept=kept)
    assert torch.equal(grown.codebook.centroids[:, :4], kept)
    assert grown.mean_squared_distance < first.mean_squared_distance
    again = train_codebook(ArrayFeatures(rows), settings, kept=kept)
    assert torch.equal(again.codebook.centroids, grown.codebook.centroids)


def test_an_old_centroid_that_nothing_is_near_stays():
    rows = blobs([[0, 0], [4, 0]])
    kept = torch.tensor([[[90.0, 90.0], [0.0, 0.0]]])
    fit = train_codebook(ArrayFeatures(rows), KMeansSettings(num_codes=3), kept=kept)
    assert torch.equal(fit.codebook.centroids[0, :2], kept[0])
    np.testing.assert_allclose(fit.codebook.centroids[0, 2], rows[60:].mean(0), atol=1e-4)


def test_a_checkpoint_of_other_old_centroids_is_refused(tmp_path):
    rows = ArrayFeatures(blobs([[0, 0], [4, 0], [0, 4]]))
    settings = KMeansSettings(num_codes=3)
    path = tmp_path / "level-0.ckpt"
    GrowingLloyd(torch.zeros(1, 2)).fit(rows, settings, checkpoint=path)
    GrowingLloyd(torch.zeros(1, 2)).fit(rows, settings, checkpoint=path)
    with pytest.raises(TrainingError):
        GrowingLloyd(torch.ones(1, 2)).fit(rows, settings, checkpoint=path)


@pytest.mark.parametrize(
    ("changes", "mode", "message"),
    [
        ({"num_codes": 2}, "lloyd", "more codes than the 2 that are kept"),
        ({"num_levels": 2}, "lloyd", "say --num-levels 1"),
        ({"initialization": "reservoir"}, "lloyd", "initialization kmeans"),
        ({}, "minibatch", "cannot keep centroids; use mode 'lloyd'"),
    ],
)
def test_what_cannot_be_kept(changes, mode, message):
    rows = ArrayFeatures(blobs([[0, 0], [4, 0], [0, 4]]))
    settings = KMeansSettings(**{"num_codes": 3, **changes})
    with pytest.raises(ConfigError, match=message):
        train_codebook(rows, settings, fitter=make_fitter(mode), kept=torch.zeros(1, 2, 2))
