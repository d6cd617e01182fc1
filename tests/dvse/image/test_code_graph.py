"""The graph of pictures, run by torch: the tokenizer's codes."""

import numpy as np
import pytest
import torch

import dvse
from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.codebook_graph import CodebookGraph
from dvse.image.code_graph import PictureCodes
from dvse.image.quantizer import LatticeQuantizer


@pytest.fixture(scope="module")
def image():
    return dvse.load("tiny", threads=1).image


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_codes_of_pictures(image):
    graph = PictureCodes(image).eval()
    for shape in ((3, 32, 32, 3), (1, 8, 40, 3)):
        pixels = noise(*shape)
        with torch.no_grad():
            found = graph(torch.from_numpy(pixels))
        wanted = image.encode([Chunk(modality="image", data=one) for one in pixels])
        assert found.dtype == torch.int32
        assert np.array_equal(found.numpy(), np.stack(wanted))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("num_levels", [1, 3])
def test_residual_levels_and_angles(metric, num_levels):
    torch.manual_seed(0)
    book = Codebook(torch.randn(num_levels, 19, 5), metric=metric)
    features = torch.randn(50, 5)
    assert torch.equal(CodebookGraph(book)(features), book.encode(features))


def test_a_lattice(image):
    """Codes without a codebook are rounded in the graph."""
    import copy

    other = copy.copy(image)
    torch.manual_seed(0)
    project = torch.nn.Linear(image.encoder.dim, 2)
    other.quantizer = LatticeQuantizer(levels=(5, 4), project_in=project)
    pixels = torch.from_numpy(noise(2, 16, 16, 3))
    with torch.no_grad():
        wanted = other.quantizer.encode(image.encoder(pixels).flatten(0, 2))
        assert torch.equal(PictureCodes(other)(pixels).flatten(), wanted.flatten().int())
