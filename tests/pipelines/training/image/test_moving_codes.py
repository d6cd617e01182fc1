"""Codes moved by index are those that the library moves by tables."""

import pytest
import torch

from dvse.nearest import nearest_codes
from pipelines.training.image.moving_codes import choose_by_index

vq = pytest.importorskip("vector_quantize_pytorch")


def pair(num_codes: int, *, cosine: bool, levels: int = 1):
    """Return a quantizer as the library has it, and the same one by index."""
    options = {
        "dim": 6,
        "codebook_size": num_codes,
        "use_cosine_sim": cosine,
        "decay": 0.9,
        "threshold_ema_dead_code": 0,
        "kmeans_init": True,
    }

    def make():
        torch.manual_seed(0)
        if levels > 1:
            return vq.ResidualVQ(num_quantizers=levels, **options)
        return vq.VectorQuantize(**options)

    library, ours = make(), make()
    for level in ours.layers if levels > 1 else [ours]:
        choose_by_index(level._codebook)
    return library, ours


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("levels", [1, 2])
def test_twenty_steps_are_the_librarys(cosine, levels):
    library, ours = pair(12, cosine=cosine, levels=levels)
    rng = torch.Generator().manual_seed(1)
    for _ in range(20):
        features = torch.randn(4, 160, 6, generator=rng)
        out = []
        for quantizer in (library, ours):
            torch.manual_seed(2)
            leaf = features.clone().requires_grad_()
            found, codes, loss = quantizer(leaf)
            (found.square().sum() + loss.sum()).backward()
            out.append((found, codes, loss, leaf.grad))
        assert torch.equal(out[0][1], out[1][1])
        for theirs, mine in zip(out[0], out[1], strict=True):
            torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-4)
    for quantizer in (library, ours):
        quantizer.eval()
    theirs, mine = library(features), ours(features)
    assert torch.equal(theirs[1], mine[1])
    torch.testing.assert_close(theirs[0], mine[0], rtol=1e-4, atol=1e-4)


def test_few_features_a_code_are_remembered_for_longer():
    _, ours = pair(512, cosine=True)
    features = torch.nn.functional.normalize(torch.randn(2, 256, 6), dim=-1)
    ours(features)  # begins with k-means of these
    book = ours._codebook
    before = book.cluster_size.clone()
    codes = nearest_codes(features.flatten(0, 1), book.embed[0])
    ours(features)
    counts = torch.bincount(codes, minlength=512).float()
    expected = before + (counts - before) * (1 / 133)  # a feature a code in each step
    torch.testing.assert_close(book.cluster_size, expected)


def test_a_code_that_nothing_chooses_begins_anew():
    _, ours = pair(8, cosine=False)
    book = ours._codebook
    features = torch.randn(2, 64, 6)
    ours(features)
    book.has_dead_code_replacement, book.dead_share = True, 0.25
    book.embed.data[0, 3] = 100.0
    book.embed_avg.data[0, 3] = 100.0 * 3.9
    book.cluster_size.data[0, 3] = 3.9  # dead below a quarter of 16
    ours(features)
    assert (book.embed[0, 3] == features.flatten(0, 1)).all(1).any()
    assert book.cluster_size[0, 3] == 4
