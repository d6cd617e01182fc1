"""SSIM of scikit-image, LPIPS and FID of the authors' packages, in their own environment: FOLDER.

The folder holds `pictures.npz` (`originals`, `rebuilt`), `inception.pth`, and takes `alex.pth` and
`vgg.pth`: whole networks of the package with random convolutions and its published linear layers.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.simplefilter("ignore")


def main() -> None:
    """Print them."""
    import lpips
    from skimage.metrics import structural_similarity
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    folder = Path(sys.argv[1])
    sides = np.load(folder / "pictures.npz")
    originals, rebuilt = sides["originals"], sides["rebuilt"]
    stacks = [torch.from_numpy(side).permute(0, 3, 1, 2) for side in (originals, rebuilt)]
    how = {"channel_axis": 2, "data_range": 255, "gaussian_weights": True, "sigma": 1.5}
    found = {
        "ssim": [
            structural_similarity(a, b, use_sample_covariance=False, **how)
            for a, b in zip(originals, rebuilt, strict=True)
        ]
    }
    for net in ("alex", "vgg"):
        torch.manual_seed(0)
        measure = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
        torch.save(measure.state_dict(), folder / f"{net}.pth")
        with torch.no_grad():
            found[net] = measure(*(s / 127.5 - 1 for s in stacks)).flatten().tolist()
    inception = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=folder / "inception.pth"
    )
    features = [inception(stack)[0] for stack in stacks]
    found["features"] = [one.double().sum().item() for one in features]
    statistics = [fid_features_to_statistics(one) for one in features]
    found["fid"] = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    np.save(folder / "features.npy", torch.stack(features).numpy())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
