"""bfloat16 against float32: the whole job, and the codes that stay.

The encoders are ViT-B and Wav2Vec2-base with random weights; centroids are features of other files,
as dense as data. The same job runs in both precisions in turn, listing, decoding, shards and all;
`ours` is bfloat16, `ratio` how much faster it is. The share of codes that stay is a row of its own:
random features lie closer together than learnt ones, so more codes change here than in a trained
bundle (`dvse verify --against-precision` counts those).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from bench_image import _jpegs
from bench_job import _KeptOpen, _run_step
from real_bundle import speech_like
from timing import Pairs, Row

import dvse
from dvse.audio.encoder import AudioEncoder
from dvse.audio.encoder import EncoderConfig as AudioConfig
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.precision import Precision
from dvse.storage.bundle import Section, write_bundle
from dvse.storage.shard import read_shard
from dvse.vocabulary import Vocabulary
from pipelines.engines.local import LocalEngine
from pipelines.steps.tokenize import TokenizeStep

_PAIRS = 3
_PRECISIONS: tuple[Precision, Precision] = ("bfloat16", "float32")
_NUM_PHOTOS = 25
_LENGTHS_S = (5.0, 8.0, 12.0)
_RATE_HZ = 16_000


def rows() -> Iterator[Row]:
    """Yield two rows an encoder."""
    for case in CASES.values():
        yield from case()


def _case(name: str, unit: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = _bundle(folder / "bundle")
        amount = _photos(folder / "in") if name == "vit_base" else _clips(folder / "in")
        engines = {p: _KeptOpen(LocalEngine(num_workers=2)) for p in _PRECISIONS}
        seconds: dict[str, list[float]] = {p: [] for p in _PRECISIONS}
        try:
            for number in range(_PAIRS + 1):
                for precision, engine in engines.items():
                    step = TokenizeStep(bundle=bundle, precision=precision)
                    took = _run_step(engine, step, [str(folder / "in")], folder / precision)
                    if number:  # the first warms up
                        seconds[precision].append(took)
        finally:
            for engine in engines.values():
                engine.really_close()
        pairs = Pairs(ours_s=seconds["bfloat16"], peer_s=seconds["float32"])
        yield Row(
            name=f"precision.{name}",
            ours=amount / pairs.ours,
            peer=amount / pairs.peer,
            ratio=pairs.speedup,
            bar=">= 1.8",
            unit=unit,
            note="whole job in bfloat16, 2 decode workers; peer: in float32",
        )
        same, total = _kept(*(folder / p for p in _PRECISIONS))
        yield Row(
            name=f"precision.{name}_codes_kept",
            ours=same / total,
            unit="share of codes",
            note=f"of {total} ids of the job's rows, random weights",
        )


def _kept(one: Path, other: Path) -> tuple[int, int]:
    same = total = 0
    for a, b in zip(sorted(one.glob("*.parquet")), sorted(other.glob("*.parquet")), strict=True):
        rows = (read_shard(path, columns=["ids"])["ids"].to_pylist() for path in (a, b))
        for mine, theirs in zip(*rows, strict=True):
            same += int((np.array(mine) == np.array(theirs)).sum())
            total += len(mine)
    return same, total


def _photos(folder: Path) -> float:
    _jpegs(folder, count=_NUM_PHOTOS, width=500, height=375)
    return _NUM_PHOTOS


def _clips(folder: Path) -> float:
    folder.mkdir()
    for number, seconds in enumerate(_LENGTHS_S):
        soundfile.write(folder / f"{number}.flac", speech_like(seconds, seed=number), _RATE_HZ)
    return sum(_LENGTHS_S)


@torch.inference_mode()
def _bundle(folder: Path, *, vit: str = "vit_base") -> str:
    torch.manual_seed(0)
    pictures = ImageEncoder(ImageConfig(name=f"{vit}_patch16_224"))
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    image = ImageTokenizer(
        encoder=pictures,
        quantizer=CodebookQuantizer(Codebook(pictures.eval()(pixels).reshape(1, -1, pictures.dim))),
        geometry=SquareGeometry(size=224, patch_size=16),
    )
    config = AudioConfig(architecture="wav2vec2", layer=12, normalize=True)
    speech = AudioEncoder(config, config.build())
    features = speech(torch.from_numpy(speech_like(12, seed=99).astype(np.float32))[None])[0]
    audio = AudioTokenizer(
        encoder=speech,
        codebook=Codebook(features[torch.randperm(len(features))[:500]].clone()[None]),
        sample_rate_hz=_RATE_HZ,
        windowing=Windowing(window_frames=1500, hop_frames=1450),
    )
    parts = {"text": dvse.load("tiny").text, "image": image, "audio": audio}
    for modality, part in parts.items():
        (folder / modality).mkdir(parents=True)
        part.save_files(folder / modality)
    vocabulary = Vocabulary.create(
        text_size=parts["text"].size, image=(image.num_codes, 1), audio=(audio.num_codes, 1)
    )
    sections = {modality: Section(spec=part.spec()) for modality, part in parts.items()}
    write_bundle(folder, name="base", vocabulary=vocabulary, sections=sections)
    return str(folder)


CASES = {
    "vit_base": lambda: _case("vit_base", "pictures/s"),
    "wav2vec2_base": lambda: _case("wav2vec2_base", "s of speech/s"),
}
