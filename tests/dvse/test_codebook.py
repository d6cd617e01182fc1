"""A codebook by hand: residual levels, both metrics, files."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, ConfigError, IdRangeError


def residual_book() -> Codebook:
    """Two levels on a line: tens, then ones."""
    return Codebook(torch.tensor([[[0.0], [10.0], [20.0]], [[-1.0], [0.0], [3.0]]]))


def test_shape():
    book = residual_book()
    assert (book.num_levels, book.num_codes, book.dim) == (2, 3, 1)


def test_the_second_level_codes_what_the_first_left_over():
    book = residual_book()
    codes = book.encode(torch.tensor([[13.2], [8.9], [20.4], [-1.0]]))
    assert codes.tolist() == [[1, 2], [1, 0], [2, 1], [0, 0]]
    assert book.decode(codes).tolist() == [[13.0], [9.0], [20.0], [-1.0]]


def test_decoded_features_are_coded_the_same():
    generator = torch.Generator().manual_seed(0)
    book = Codebook(torch.randn(1, 50, 8, generator=generator))
    codes = torch.arange(50)[:, None]
    assert torch.equal(book.encode(book.decode(codes)), codes)


def test_more_levels_never_come_out_worse():
    generator = torch.Generator().manual_seed(0)
    centroids = torch.randn(3, 16, 4, generator=generator)
    centroids[:, 0] = 0  # a level may always add nothing
    features = torch.randn(200, 4, generator=generator)
    errors = []
    for levels in (1, 2, 3):
        book = Codebook(centroids[:levels])
        errors.append((features - book.decode(book.encode(features))).square().sum().item())
    assert errors[0] >= errors[1] >= errors[2]


def test_cosine_looks_at_directions_only():
    book = Codebook(torch.tensor([[[10.0, 0.0], [0.0, 0.1]]]), metric="cosine")
    assert book.encode(torch.tensor([[0.01, 0.02], [9.0, 1.0]])).tolist() == [[1], [0]]
    assert book.decode(torch.tensor([[0], [1]])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_cosine_equals_the_highest_cosine_similarity():
    generator = torch.Generator().manual_seed(3)
    centroids, features = (torch.randn(n, 12, generator=generator) for n in (40, 300))
    similarity = torch.cosine_similarity(features[:, None], centroids[None], dim=-1)
    book = Codebook(centroids[None], metric="cosine")
    assert torch.equal(book.encode(features)[:, 0], similarity.argmax(-1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_files_keep_every_bit(tmp_path, metric):
    generator = torch.Generator().manual_seed(0)
    book = Codebook(torch.randn(2, 5, 3, generator=generator), metric=metric)
    book.save(tmp_path / "one.safetensors")
    again = Codebook.load(tmp_path / "one.safetensors")
    assert again.metric == metric
    features = torch.randn(100, 3, generator=generator)
    assert torch.equal(again.encode(features), book.encode(features))
    if metric == "euclidean":
        assert torch.equal(again.centroids, book.centroids)
    again.save(tmp_path / "two.safetensors")
    assert Codebook.load(tmp_path / "two.safetensors").metric == metric


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path, metric):
    """A bundle that is loaded and saved keeps its fingerprint."""
    generator = torch.Generator().manual_seed(0)
    Codebook(torch.randn(1, 300, 7, generator=generator), metric=metric).save(tmp_path / "a")
    Codebook.load(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("centroids", "options"),
    [
        (torch.zeros(2, 3), {}),
        (torch.zeros(0, 2, 3), {}),
        (torch.zeros(1, 0, 3), {}),
        (torch.full((1, 2, 3), float("nan")), {}),
        (torch.full((1, 2, 3), float("inf")), {}),
        (torch.zeros(1, 2, 3), {"metric": "manhattan"}),
    ],
)
def test_what_cannot_be_a_codebook(centroids, options):
    with pytest.raises(ConfigError, match="expected"):
        Codebook(centroids, **options)


@pytest.mark.parametrize("codes", [[[3, 0]], [[0, -1]], [[0, 3]]])
def test_codes_outside_are_refused(codes):
    with pytest.raises(IdRangeError, match=r"expected codes in 0\.\.2"):
        residual_book().decode(torch.tensor(codes))


@pytest.mark.parametrize("codes", [[[0]], [[0, 0, 0]], [0]])
def test_another_number_of_levels_is_refused(codes):
    with pytest.raises(ConfigError, match=r"expected codes \[N, 2\]"):
        residual_book().decode(torch.tensor(codes))


def test_features_of_another_width_are_refused():
    with pytest.raises(ConfigError, match="of one dim"):
        residual_book().encode(torch.zeros(4, 2))


def test_nothing_in_nothing_out():
    book = residual_book()
    codes = book.encode(torch.zeros(0, 1))
    assert codes.shape == (0, 2)
    assert book.decode(codes).shape == (0, 1)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "codebook.safetensors"
    contents = [b"", b"nonsense", pickle.dumps({"centroids": 1})]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(BundleFormatError, match=r"codebook\.safetensors: expected a codebook"):
            Codebook.load(path)
    for tensors, metadata in (
        ({"weights": torch.zeros(1, 2, 3)}, {}),
        ({"centroids": torch.zeros(2, 3)}, {}),
        ({"centroids": torch.full((1, 2, 3), float("nan"))}, {}),
        ({"centroids": torch.zeros(1, 2, 3)}, {"metric": "?"}),
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(BundleFormatError, match=r"codebook\.safetensors: expected a codebook"):
            Codebook.load(path)
    with pytest.raises(BundleFormatError, match=r"missing\.safetensors: expected a codebook"):
        Codebook.load(tmp_path / "missing.safetensors")
