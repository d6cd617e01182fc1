import pytest
import torch
from torch import nn

from dvse.codebook import Codebook
from dvse.errors import ConfigError, IdRangeError
from dvse.image.quantizer import CodebookQuantizer, LatticeQuantizer


def test_projected_codebook_is_nearest_after_projection():
    torch.manual_seed(0)
    centroids, features = torch.randn(1, 37, 4), torch.randn(500, 10)
    project_in, project_out = nn.Linear(10, 4), nn.Linear(4, 10)
    quantizer = CodebookQuantizer(
        Codebook(centroids), project_in=project_in, project_out=project_out
    )
    with torch.no_grad():
        codes = quantizer.encode(features)
        expected = torch.cdist(project_in(features).double(), centroids[0].double()).argmin(-1)
        assert torch.equal(codes[:, 0], expected)
        torch.testing.assert_close(quantizer.decode(codes), project_out(centroids[0][expected]))
    assert (quantizer.num_codes, quantizer.num_levels, quantizer.code_dim) == (37, 1, 4)


@pytest.mark.parametrize("cosine", [True, False])
def test_same_codes_as_the_library_that_trains(cosine):
    vector_quantize_pytorch = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(1)
    trained = vector_quantize_pytorch.VectorQuantize(
        dim=12, codebook_size=50, codebook_dim=5, use_cosine_sim=cosine
    ).eval()
    quantizer = CodebookQuantizer(
        Codebook(trained._codebook.embed.detach(), metric="cosine" if cosine else "euclidean"),
        project_in=trained.project_in,
        project_out=trained.project_out,
    )
    features = torch.randn(1, 400, 12)
    with torch.no_grad():
        restored, codes, _ = trained(features)
        assert torch.equal(quantizer.encode(features[0])[:, 0], codes[0])
        torch.testing.assert_close(quantizer.decode(codes[0][:, None]), restored[0])


@pytest.mark.parametrize("levels", [(3, 3), (8, 5, 5, 5), (5,), (4, 7)])
def test_lattice_is_the_libraries(levels):
    vector_quantize_pytorch = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(2)
    trained = vector_quantize_pytorch.FSQ(levels=list(levels)).eval()
    lattice = LatticeQuantizer(levels=levels)
    features = 2 * torch.randn(1, 300, len(levels))
    restored, codes = trained(features)
    assert torch.equal(lattice.encode(features[0])[:, 0], codes[0].long())
    torch.testing.assert_close(lattice.decode(codes[0][:, None].long()), restored[0])


def test_every_lattice_code_comes_back():
    lattice = LatticeQuantizer(levels=(4, 3, 5))
    codes = torch.arange(lattice.num_codes)[:, None]
    assert len(torch.unique(lattice.decode(codes), dim=0)) == 60
    with pytest.raises(IdRangeError, match=r"0\.\.59"):
        lattice.decode(torch.tensor([[60]]))
    with pytest.raises(ConfigError):
        LatticeQuantizer(levels=(2, 4))
