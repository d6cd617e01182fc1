"""Captions end to end against bare `generate` on ids that are ready, in one warm process.

Ours opens files, tokenises, asks, answers under the constraint, and gives text. The peer is the
same decoder's `generate` on prompts that are padded already: for many files at the batch size that
is fastest for it in this run, for one file with a batch of one. The model is `tiny`; where it has
no decoder, a random one of its shape, both sides then saying `_NEW_TOKENS` tokens.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image as PilImage
from timing import Row, alternate

from dvse.errors import BundleNotFoundError
from model import DvseForCausalLM, preset
from pipelines import Captioner
from pipelines.answering.inputs import as_row
from pipelines.answering.model_directory import load_model, save_model
from pipelines.answering.prompts import encode_prompts, prompt_row

_NUM_THREADS = 2
_NEW_TOKENS = 12
_PEER_BATCH_SIZES = (16, 32, 64, 128)
_RATE_HZ = 16000


def rows() -> Iterator[Row]:
    """Yield many pictures, many recordings, and one of each."""
    for case in CASES.values():
        yield from case()


def _many(kind: str, count: int) -> Iterator[Row]:
    with _Setting() as setting:
        files = _FILES[kind](setting.folder, count)
        ours = setting.captioner
        assert len(set(ours(files, max_new_tokens=_NEW_TOKENS, on_error="raise"))) > 1
        ready = setting.ready(files)
        batch_size = min(_PEER_BATCH_SIZES, key=lambda size: setting.seconds(ready, size))
        pairs = alternate(
            lambda: ours(files, max_new_tokens=_NEW_TOKENS),
            lambda: setting.generate(ready, batch_size),
            pairs=5,
        )
        yield Row(
            name=f"caption.many_{kind}",
            ours=count / pairs.ours,
            peer=count / pairs.peer,
            ratio=pairs.speedup,
            bar=">= 0.85",
            unit="captions/s",
            note=f"{count} files; peer: bare generate, batches of {batch_size}; {setting.note}",
        )


def _one(kind: str) -> Iterator[Row]:
    with _Setting() as setting:
        (file,) = _FILES[kind](setting.folder, 1)
        ready = setting.ready([file])
        pairs = alternate(
            lambda: setting.captioner(file, max_new_tokens=_NEW_TOKENS),
            lambda: setting.generate(ready, 1),
            pairs=25,
        )
        yield Row(
            name=f"caption.one_{kind}",
            ours=pairs.ours,
            peer=pairs.peer,
            ratio=1 / pairs.speedup,
            bar="<= 1.3",
            note=f"our time over bare generate's; {setting.note}",
        )


class _Setting:
    """A captioner, and the same decoder bare."""

    def __enter__(self) -> "_Setting":
        self._threads = torch.get_num_threads()
        torch.set_num_threads(_NUM_THREADS)
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.note = "tiny"
        try:
            loaded = load_model("tiny", threads=_NUM_THREADS)
        except BundleNotFoundError:
            torch.manual_seed(0)
            save_model(DvseForCausalLM(preset("tiny")), "tiny", self.folder / "model")
            loaded = load_model(self.folder / "model", threads=_NUM_THREADS)
            self.note = "random weights of tiny's shape"
        self.captioner, self._model = Captioner(loaded), loaded.model
        self._pad_id = loaded.tokenizer.vocabulary.pad_id
        return self

    def __exit__(self, *exc: object) -> None:
        torch.set_num_threads(self._threads)
        self._temporary.cleanup()

    def ready(self, files: Sequence[Path]) -> list[torch.Tensor]:
        """Return the prompts as ids, short ones first."""
        rows = [prompt_row(as_row(file)) for file in files]
        found = encode_prompts(self.captioner.tokenizer, rows, max_length=2048)
        return sorted((torch.from_numpy(one.ids) for one in found), key=len)

    def generate(self, ready: Sequence[torch.Tensor], batch_size: int) -> None:
        """Bare `generate`, padding included."""
        for start in range(0, len(ready), batch_size):
            group = ready[start : start + batch_size]
            width = max(map(len, group))
            ids = torch.full((len(group), width), self._pad_id)
            mask = torch.zeros_like(ids)
            for row, prompt in enumerate(group):
                ids[row, width - len(prompt) :] = prompt
                mask[row, width - len(prompt) :] = 1
            with torch.inference_mode():
                self._model.generate(ids, attention_mask=mask, max_new_tokens=_NEW_TOKENS)

    def seconds(self, ready: Sequence[torch.Tensor], batch_size: int) -> float:
        """Return the best of two passes."""
        return min(_seconds(lambda: self.generate(ready, batch_size)) for _ in range(2))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _pictures(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = PilImage.fromarray(coarse).resize((32, 32), PilImage.Resampling.BICUBIC)
        picture.save(folder / f"{n:04d}.png")
    return sorted(folder.glob("*.png"))


def _recordings(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    for n in range(count):
        times = np.arange(int(_RATE_HZ * rng.uniform(0.3, 1.5))) / _RATE_HZ
        sound = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 400) * times)
        sound += 0.02 * rng.standard_normal(len(times))
        soundfile.write(folder / f"{n:04d}.wav", sound, _RATE_HZ)
    return sorted(folder.glob("*.wav"))


_FILES = {"pictures": _pictures, "recordings": _recordings}

CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "many_pictures": lambda: _many("pictures", 256),
    "many_recordings": lambda: _many("recordings", 128),
    "one_picture": lambda: _one("pictures"),
    "one_recording": lambda: _one("recordings"),
}
