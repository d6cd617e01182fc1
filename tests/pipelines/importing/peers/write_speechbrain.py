"""A HuBERT in SpeechBrain's hands, and its units, in SpeechBrain's own environment: FOLDER.

Takes `hubert/` (a directory of transformers), `samples.npy` and `layer.txt`. Writes the checkpoint
that SpeechBrain's checkpointer makes of it (`wav2vec2.ckpt`), the k-means that its `utils.kmeans`
saves (`kmeans.pt`), and the units of that (`units.npy`).
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from speechbrain.integrations.huggingface.hubert import HuBERT
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.kmeans import save_model


def main() -> None:
    """Write them."""
    folder = Path(sys.argv[1])
    samples = torch.from_numpy(np.load(folder / "samples.npy"))[None]
    layer = int((folder / "layer.txt").read_text())
    cache = str(folder / "cache")
    model = HuBERT(
        str(folder / "hubert"), cache, freeze=True, output_norm=False, output_all_hiddens=True
    )
    saved = Checkpointer(folder / "saved", {"wav2vec2": model}).save_checkpoint(name="all")
    shutil.copy(saved.path / "wav2vec2.ckpt", folder / "wav2vec2.ckpt")
    with torch.no_grad():
        features = model(samples)[layer, 0].numpy()
    kmeans = MiniBatchKMeans(12, n_init=3, random_state=0).fit(features)
    save_model(kmeans, folder / "kmeans.pt")
    np.save(folder / "units.npy", kmeans.predict(features))


if __name__ == "__main__":
    main()
