"""LPIPS and the FID: second formulas here, the authors' packages in an environment of their own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from judge_weights import write_inception, write_lpips
from peers import run_in
from scipy.linalg import sqrtm
from torch.nn import functional as F

from dvse.errors import BundleNotFoundError, ConfigError, TrainingError, WeightsFormatError
from pipelines.evaluation.measures.frechet import frechet_distance
from pipelines.evaluation.measures.inception import InceptionFeatures
from pipelines.evaluation.measures.lpips import Lpips
from pipelines.evaluation.measures.picture_quality import ssim
from pipelines.evaluation.reconstruction import PictureJudge


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    write_lpips(folder)
    write_inception(folder)
    return folder


def pictures(count, size=(40, 48)):
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (count, *size, 3)).astype(np.uint8)
    noise = rng.integers(-40, 40, originals.shape)
    return originals, np.clip(originals + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("count", [5, 60])
def test_frechet_distance_is_that_of_a_matrix_root(count):
    rng = np.random.default_rng(count)
    x, y = rng.standard_normal((count, 12)), 1.5 * rng.standard_normal((count + 3, 12)) + 0.3
    covariances = [np.cov(one, rowvar=False) for one in (x, y)]
    # Of singular matrices the root is found beside the diagonal.
    first, second = (c + 1e-10 * np.eye(12) for c in covariances)
    between = x.mean(0) - y.mean(0)
    wanted = between @ between + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-4)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_lpips_is_the_papers_sum_over_places(files):
    """Layer by layer with torchvision's network as it comes."""
    from torchvision.models import alexnet

    measure = Lpips.read([files / "alexnet.pth", files / "alex.pth"])
    with torch.device("meta"):
        net = alexnet(weights=None).eval()
    net.load_state_dict(
        torch.load(files / "alexnet.pth", weights_only=True), assign=True, strict=False
    )
    linear = torch.load(files / "alex.pth", weights_only=True)
    a, b = (torch.from_numpy(side).permute(0, 3, 1, 2) for side in pictures(2))
    shift, scale = torch.tensor([-0.03, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.45])

    def layers(side):
        hidden = (side.permute(0, 2, 3, 1) / 127.5 - 1 - shift) / scale
        hidden, found = hidden.permute(0, 3, 1, 2), []
        for module in net.features[:12]:
            hidden = module(hidden)
            if isinstance(module, torch.nn.ReLU):
                found.append(F.normalize(hidden, dim=1).clone())
        return found

    wanted = torch.zeros(2)
    with torch.no_grad():
        for n, (x, y) in enumerate(zip(layers(a), layers(b), strict=True)):
            weighted = F.conv2d((x - y) ** 2, linear[f"lin{n}.model.1.weight"])
            wanted += weighted.mean((1, 2, 3))
    assert measure(a, b).tolist() == pytest.approx(wanted.tolist(), rel=1e-5)
    assert measure(a, a).tolist() == [0, 0]


def test_the_fids_network_leaves_borders_out_and_takes_maxima_at_last(files):
    features = InceptionFeatures.read(files / "inception.pth")
    blocks = features.network
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(blocks.Mixed_5b.pool(ones), ones)
    assert torch.equal(blocks.Mixed_7b.pool(ones), ones)
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 1
    assert torch.equal(blocks.Mixed_7c.pool(corner)[0, 0, :2, :2], torch.ones(2, 2))


@pytest.mark.slow
def test_the_authors_packages_find_the_same(files, tmp_path):
    originals, rebuilt = pictures(6)
    np.savez(tmp_path / "pictures.npz", originals=originals, rebuilt=rebuilt)
    (tmp_path / "inception.pth").write_bytes((files / "inception.pth").read_bytes())
    script = Path(__file__).parent / "peers" / "judge_pictures.py"
    wanted = json.loads(run_in("pictures", script, tmp_path).splitlines()[-1])
    assert [ssim(a, b) for a, b in zip(originals, rebuilt, strict=True)] == pytest.approx(
        wanted["ssim"], rel=1e-9
    )
    a, b = (torch.from_numpy(side).permute(0, 3, 1, 2) for side in (originals, rebuilt))
    for net in ("alex", "vgg"):
        measure = Lpips.read([tmp_path / f"{net}.pth"])
        assert measure.net == net
        assert measure(a, b).tolist() == pytest.approx(wanted[net], rel=1e-4)
    inception = InceptionFeatures.read(files / "inception.pth")
    found = np.stack([inception(side).numpy() for side in (a, b)])
    theirs = np.load(tmp_path / "features.npy")
    assert theirs.std() > 1e-2
    np.testing.assert_allclose(found, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
    assert frechet_distance(*found) == pytest.approx(wanted["fid"], rel=1e-3)


def test_figures_say_what_they_are_of(files):
    originals, rebuilt = pictures(1)
    odd = np.zeros((32, 70, 3), np.uint8) + 90
    pairs = [*zip(originals, rebuilt, strict=True), (odd, odd)]
    judge = PictureJudge(
        lpips=[files / "alexnet.pth", files / "alex.pth"], rfid=files / "inception.pth"
    )
    found = judge.figures(pairs)
    alone = PictureJudge(lpips=[files / "alexnet.pth", files / "alex.pth"])
    single = [alone.figures([pair])["lpips"] for pair in pairs]
    assert found["lpips"] == pytest.approx(np.mean(single), abs=1e-4) and single[-1] == 0
    assert (found["lpips_of"], found["rfid_pictures"]) == ("alex", 2)
    assert found["rfid"] > 0 and set(found["judged_by"]) == {
        "alexnet.pth",
        "alex.pth",
        "inception.pth",
    }
    with pytest.raises(TrainingError, match="two pictures at least"):
        judge.figures(pairs[:1])
    with pytest.raises(ConfigError, match="31 pixels a side at least, received 30x40"):
        judge.figures([(p[:30, :40], p[:30, :40]) for p, _ in pairs[:1]])
    assert set(PictureJudge().figures(pairs)["not_measured"]) == {"lpips", "rfid"}


def test_other_files_are_refused_in_a_sentence(files, tmp_path):
    with pytest.raises(BundleNotFoundError, match=r"nowhere.pth: expected a file of weights"):
        Lpips.read([tmp_path / "nowhere.pth"])
    with pytest.raises(WeightsFormatError, match=r"linear layers of LPIPS 0\.1"):
        Lpips.read([files / "alexnet.pth"])
    with pytest.raises(WeightsFormatError, match=r"torchvision's AlexNet or VGG16"):
        Lpips.read([files / "alex.pth"])
    with pytest.raises(WeightsFormatError, match="Inception v3 of the FID"):
        InceptionFeatures.read(files / "alexnet.pth")
    torch.save({"fc.bias": torch.zeros(1000)}, tmp_path / "torchvision.pth")
    with pytest.raises(WeightsFormatError, match="torchvision's is another network"):
        InceptionFeatures.read(tmp_path / "torchvision.pth")
    torch.save({"a": print}, tmp_path / "code.pth")
    with pytest.raises(WeightsFormatError, match="without anything that would"):
        Lpips.read([tmp_path / "code.pth"])
