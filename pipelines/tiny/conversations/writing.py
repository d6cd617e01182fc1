"""Writes the conversations that `tiny` is trained on: JSONL, with the media files beside it.

    python -m pipelines.tiny.conversations.writing --data FOLDER --output DIR

Only training rows and training recordings are touched, unless `HELD_OUT` is asked for. The same
seed writes the same files, but for espeak-ng's own jitter of a few samples.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm

from model import preset
from model.sizes import count_parameters
from pipelines.speech.clips import DigitSplit
from pipelines.tiny.conversations.asides import picture_aside, recording_aside
from pipelines.tiny.conversations.mosaic import SIDE, compose
from pipelines.tiny.conversations.odd_pictures import PHOTOGRAPHS, load_odd_pictures
from pipelines.tiny.conversations.odd_recordings import load_odd_recordings
from pipelines.tiny.conversations.odd_rows import (
    OddStock,
    drawing_rows,
    picture_rows,
    recording_rows,
    text_rows,
)
from pipelines.tiny.conversations.odd_texts import load_odd_texts
from pipelines.tiny.conversations.recording import RATE_HZ, Voices, load_voices, record
from pipelines.tiny.conversations.scene import LABELS
from pipelines.tiny.conversations.talk import SHARES
from pipelines.tiny.conversations.turns import (
    Conversation,
    messages,
    picture_turns,
    recording_turns,
)
from pipelines.training.image.pictures import Pictures, load_pictures, parse_rows

_ASIDE_SHARE = 0.08
_MOST_MOVED = 2  # pixels


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many conversations of each kind."""

    pictures: int = 45_000
    mosaics: int = 11_000
    digits: int = 6_000
    sequences: int = 20_000
    texts: int = 14_000
    drawings: int = 1_500
    odd_pictures: int = 6_000
    odd_recordings: int = 4_000


@dataclass(frozen=True, kw_only=True)
class Material:
    """Which pictures and recordings conversations are made of.

    Attributes:
        rows: of the pictures.
        split: of the recordings.
        num_synthetic: voices of espeak-ng beside them.
        is_held_out: whether odd pictures, recordings and texts are those never trained on.
    """

    rows: str
    split: DigitSplit
    num_synthetic: int = 0
    is_held_out: bool = False


TRAINING = Material(rows="0:45000", split="train", num_synthetic=120)
HELD_OUT = Material(rows="45000:50000", split="known", is_held_out=True)
"""For losses of answers; `scoring` makes its own inputs of the same rows."""


def write_conversations(
    data: Path,
    output: Path,
    *,
    counts: Counts,
    material: Material = TRAINING,
    seed: int = 0,
    photographs: tuple[Path, ...] = PHOTOGRAPHS,
    talk: Mapping[str, float] = SHARES,
) -> Path:
    """Write `conversations.jsonl` and `media/` into `output`; return the JSONL's path.

    `shown.jsonl` beside it says, line by line, what the picture or recording shows and where, for
    `pipelines.tiny.guides`; `null` where there is none.

    Raises:
        TrainingError: the data cannot be read.
    """
    (output / "media").mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(
        data / "cifar10-train.parquet",
        size=SIDE,
        rows=parse_rows(material.rows),
        image_column="image",
        label_column="label",
        num_threads=1,
    )
    voices = load_voices(
        data / "fsdd", material.split, num_synthetic=material.num_synthetic, seed=seed
    )
    stock = OddStock(
        pictures=load_odd_pictures(is_held_out=material.is_held_out, photographs=photographs),
        recordings=load_odd_recordings(is_held_out=material.is_held_out),
        texts=load_odd_texts(is_held_out=material.is_held_out),
        num_parameters=count_parameters(preset("tiny")).total,
        talk=talk,
    )
    odd = [
        *drawing_rows(counts.drawings, output, seed),
        *picture_rows(stock, counts.odd_pictures, output, seed),
        *recording_rows(stock, counts.odd_recordings, output, seed),
        *text_rows(stock, counts.texts, seed),
    ]
    written = [
        *_picture_rows(pictures, counts, output, seed),
        *_recording_rows(voices, counts, output, seed),
        *odd,
    ]
    # Mixed once, so that any part of the shards is a sample of the whole.
    order = np.random.default_rng(seed).permutation(len(written))
    path = output / "conversations.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in order:
            file.write(json.dumps({"messages": written[i].messages}, ensure_ascii=False) + "\n")
    shown = "".join(json.dumps(written[i].shown) + "\n" for i in order)
    (output / "shown.jsonl").write_text(shown, encoding="utf-8")
    return path


def _picture_rows(
    pictures: Pictures, counts: Counts, output: Path, seed: int
) -> Iterator[Conversation]:
    assert pictures.labels is not None
    labels = [pictures.label_names[label] for label in pictures.labels]
    assert set(labels) <= set(LABELS)
    order = np.random.default_rng((seed, 6)).permutation(len(labels))
    for i in tqdm(range(counts.pictures + counts.mosaics), desc="pictures", unit="img"):
        rng = np.random.default_rng((seed, 0, i))
        if i < counts.pictures:
            chosen = order[[i % len(labels)]]
        else:
            chosen = rng.integers(0, len(labels), rng.choice([2, 3, 4], p=[0.25, 0.25, 0.5]))
        tiles = [_moved(pictures.pixels[row], rng) for row in chosen]
        names = [labels[row] for row in chosen]
        mosaic = compose(tiles, names, rng)
        file = f"media/{i:06}.png"
        Image.fromarray(mosaic.pixels).save(output / file, compress_level=1)
        turns = [*islice(picture_turns(mosaic.scene, rng), 1 + (rng.random() < 0.15))]
        if rng.random() < _ASIDE_SHARE:
            turns[-1] = picture_aside(mosaic.scene, rng)
        yield Conversation(
            messages=messages({"type": "image", "image": file}, turns, rng),
            shown={
                "size": list(mosaic.pixels.shape[:2]),
                "tiles": [
                    [*corner, name] for corner, name in zip(mosaic.corners, names, strict=True)
                ],
            },
        )


def _moved(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture as it is or mirrored, half of them moved by up to two pixels."""
    pixels = pixels[:, :: rng.choice([-1, 1])]
    if rng.random() < 0.5:
        return pixels
    padded = np.pad(
        pixels, ((_MOST_MOVED, _MOST_MOVED), (_MOST_MOVED, _MOST_MOVED), (0, 0)), "edge"
    )
    top, left = rng.integers(0, 2 * _MOST_MOVED + 1, 2)
    return padded[top : top + pixels.shape[0], left : left + pixels.shape[1]]


def _recording_rows(
    voices: Voices, counts: Counts, output: Path, seed: int
) -> Iterator[Conversation]:
    for i in tqdm(range(counts.digits + counts.sequences), desc="recordings", unit="rec"):
        rng = np.random.default_rng((seed, 1, i))
        length = 1 if i < counts.digits else int(rng.integers(2, 7))
        recording = record(voices, length, rng)
        name = f"media/{i:06}.flac"
        soundfile.write(output / name, recording.samples, RATE_HZ, subtype="PCM_16")
        num_turns = 1 + (rng.random() < 0.6) + (rng.random() < 0.4)
        turns = [*islice(recording_turns(recording.digits, rng), num_turns)]
        if rng.random() < _ASIDE_SHARE:
            turns[-1] = recording_aside(recording.digits, rng)
        yield Conversation(
            messages=messages({"type": "audio", "audio": name}, turns, rng),
            shown={
                "duration_s": len(recording.samples) / RATE_HZ,
                "digits": [
                    [*span, digit]
                    for span, digit in zip(recording.spans_s, recording.digits, strict=True)
                ],
            },
        )


def main() -> int:
    """Write the conversations of the shipped model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number, for trials")
    parser.add_argument("--held-out", action="store_true", help="from the other rows instead")
    parser.add_argument("--seed", type=int, default=0, help="other recordings, mosaics, questions")
    parser.add_argument("--photographs", type=Path, nargs="*", default=list(PHOTOGRAPHS))
    args = parser.parse_args()
    full = Counts()
    counts = Counts(**{name: int(n * args.share) for name, n in vars(full).items()})
    material = HELD_OUT if args.held_out else TRAINING
    path = write_conversations(
        args.data,
        args.output,
        counts=counts,
        material=material,
        seed=args.seed,
        photographs=tuple(args.photographs),
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
