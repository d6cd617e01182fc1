"""A small random Wav2Vec2 of fairseq2 and its units, in fairseq2's own environment: FOLDER.

Writes `base.pt` and `large.pt`, takes `samples.npy` and `centroids.npy`, and writes what each layer
gives (`base-0.npy` …) with seamless_communication's nearest centroids (`base-0-units.npy` …).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from fairseq2.models.transformer import TransformerNormOrder
from fairseq2.models.wav2vec2 import Wav2Vec2Config
from fairseq2.models.wav2vec2.factory import create_wav2vec2_model
from fairseq2.nn import BatchLayout
from torch.nn import functional as F


def main() -> None:
    """Write them."""
    folder = Path(sys.argv[1])
    samples = torch.from_numpy(np.load(folder / "samples.npy"))[None]
    centroids = torch.from_numpy(np.load(folder / "centroids.npy").T)
    for name in ("base", "large"):
        config = Wav2Vec2Config()
        inner = config.encoder_config
        inner.model_dim, inner.feature_dim, inner.num_encoder_layers = 32, 16, 3
        inner.num_encoder_attn_heads, inner.ffn_inner_dim = 4, 48
        inner.pos_conv_kernel_size, inner.num_pos_conv_groups = 16, 4
        plan = [(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2
        inner.feature_extractor_layer_descs = plan
        if name == "large":
            inner.norm_order, inner.layer_norm_features = TransformerNormOrder.PRE, False
            inner.feature_extractor_layer_norm_convs = inner.feature_extractor_bias = True
        torch.manual_seed(0)
        model = create_wav2vec2_model(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        torch.save({"model": model.state_dict()}, folder / f"{name}.pt")
        given = F.layer_norm(samples, samples.shape)
        outputs = outputs_of(model, given)
        for number, found in enumerate(outputs):
            np.save(folder / f"{name}-{number}.npy", found.numpy())
            distances = -2 * found @ centroids + (centroids**2).sum(0, keepdims=True)
            distances = found.pow(2).sum(1, keepdim=True) + distances
            np.save(folder / f"{name}-{number}-units.npy", distances.argmin(-1).numpy())


def outputs_of(model, given):
    """Return what each layer gives."""
    outputs = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda module, given, output: outputs.append(output[0]))
    with torch.inference_mode():
        model.encoder(*model.encoder_frontend(given, BatchLayout.of(given)))
    return outputs


if __name__ == "__main__":
    main()
