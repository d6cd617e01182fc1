import pytest
import torch

from model import extend_embedding, initialize_rows
from model.errors import ModelConfigError


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_old_rows_and_logits_stay(make_model, ids, tied):
    model = make_model(tie_word_embeddings=tied)
    before = model(ids).logits
    assert extend_embedding(model, 10) == range(61, 71)
    assert extend_embedding(model, 5, torch.randn(5, 7)) == range(71, 76)
    after = model(ids).logits
    assert after.shape[-1] == 76 == model.config.vocab_size == model.lm_head.out_features
    assert torch.allclose(after[..., :61], before, atol=1e-6)
    assert torch.isfinite(model(torch.tensor([[61, 75]])).logits).all()


@torch.no_grad()
def test_mean_of_old_rows(make_model):
    model = make_model()
    extend_embedding(model, 3)
    for table in (model.model.embed_tokens.weight, model.lm_head.weight):
        assert torch.allclose(table[61:], table[:61].mean(0).expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("width", [7, 32])
@torch.no_grad()
def test_centroids_keep_their_distances_up_to_scale(make_model, width):
    model, centroids = make_model(), torch.randn(12, width) * 5 + 3
    extend_embedding(model, 12, centroids)
    for table in (model.model.embed_tokens.weight, model.lm_head.weight):
        ratio = torch.pdist(table[61:]) / torch.pdist(centroids)
        assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-4)
        # The new rows spread around the old mean as the old ones do.
        mean = table[:61].mean(0)
        spread = (table[:61] - mean).square().sum(1).mean()
        assert torch.allclose((table[61:] - mean).square().sum(1).mean(), spread, rtol=1e-3)
        assert torch.allclose(table[61:].mean(0), mean, atol=1e-4)


@torch.no_grad()
def test_wider_centroids_keep_their_main_directions(make_model):
    model = make_model()
    plane = torch.randn(2, 100)
    centroids = torch.randn(20, 2) @ plane  # 2 dimensions in 100 fit into 32
    extend_embedding(model, 20, centroids)
    rows = model.model.embed_tokens.weight[61:]
    ratio = torch.pdist(rows) / torch.pdist(centroids)
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-3)


@torch.no_grad()
def test_rows_inside_a_padded_vocabulary(make_model):
    model = make_model()
    before = model.model.embed_tokens.weight.clone()
    initialize_rows(model, range(50, 58), torch.randn(8, 4))
    after = model.model.embed_tokens.weight
    assert torch.equal(after[:50], before[:50]) and torch.equal(after[58:], before[58:])
    assert not torch.equal(after[50:58], before[50:58])


@pytest.mark.parametrize(
    "num_new, init, words",
    [
        (0, "mean", "at least 1"),
        (2, "median", "'mean' or an array"),
        (2, torch.zeros(3, 4), r"\[2, D\], got \[3, 4\]"),
        (2, torch.full((2, 4), torch.nan), "NaN"),
    ],
)
def test_bad_growth(make_model, num_new, init, words):
    model = make_model()
    with pytest.raises(ModelConfigError, match=words):
        extend_embedding(model, num_new, init)
    assert model.config.vocab_size == 61
    with pytest.raises(ModelConfigError, match="consecutive"):
        initialize_rows(model, range(60, 62))
