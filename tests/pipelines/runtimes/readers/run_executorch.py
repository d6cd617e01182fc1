"""Exports a model by the command's own function, opens it as a phone would, prints what it says.

Arguments: a model directory, a folder for the export, what its weights are held in.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from executorch.runtime import Runtime

import dvse
from dvse.chunk import Chunk
from model.plain.loading import load_plain
from pipelines.runtimes.device_export import export_to_device
from pipelines.runtimes.device_settings import DeviceSettings
from pipelines.runtimes.executorch_target import ExecutorchTarget

torch.set_num_threads(1)
model, output, weights = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
settings = DeviceSettings(weights=weights, context=48, longest=12, picture_side=32)
export_to_device(ExecutorchTarget(), model, output, settings)


def program(name):
    # The method lives as long as its program.
    loaded = Runtime.get().load_program(str(output / f"{name}.pte"))
    return loaded, loaded.load_method("forward")


found = {"files": sorted(path.name for path in output.iterdir())}
tokenizer, draws = dvse.load(model, threads=1), np.random.default_rng(5)
held, pictures = program("pictures")
pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
(wanted,) = tokenizer.image.encode([Chunk(modality="image", data=pixels)])
codes = pictures.execute([torch.from_numpy(pixels)[None]])[0][0].numpy()
found["same_picture_codes"] = float((codes == wanted).mean())
held_too, recordings = program("recordings")
grid, shares = tokenizer.audio.preparer.grid, []
for frames in (2, 17, 64):
    samples = draws.normal(0, 0.1, grid.num_samples(frames)).astype(np.float32)
    (wanted,) = tokenizer.audio.encode([Chunk(modality="audio", data=samples)])
    codes = recordings.execute([torch.from_numpy(samples)[None]])[0][0].numpy()
    shares.append(float((codes == wanted).mean()))
found["same_recording_codes"] = min(shares)
last, decoder = program("decoder")
plain = load_plain(model)
ids, position, errors, same = torch.arange(3, 10)[None], 0, [], []
said = ids
with torch.no_grad():
    for _ in range(20):
        logits = decoder.execute([ids, torch.arange(position, position + ids.shape[1])])[0]
        wanted = plain(said).logits[:, -1]
        errors.append(float(abs(logits - wanted).max() / abs(wanted).max()))
        same.append(bool(logits.argmax() == wanted.argmax()))
        position += ids.shape[1]
        ids = wanted.argmax(-1)[:, None]
        said = torch.cat([said, ids], dim=1)
found |= {"logit_error": max(errors), "same_tokens": sum(same), "num_tokens": len(same)}
print(json.dumps(found))
