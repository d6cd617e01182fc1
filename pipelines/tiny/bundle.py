"""How the shipped bundle `tiny` is made: eight trainings and an assembly, as one would type them.

    python -m pipelines.tiny.bundle --data FOLDER --output DIR

`FOLDER` holds `cifar10-train.parquet` (CIFAR-10's training pictures: `image`, `label`) and `fsdd/`
(Free Spoken Digit Dataset with `manifest.jsonl`). Text comes from Debian's packages
`debian-reference-en` and `debian-reference-zh-cn`, more voices from `espeak-ng`. Steps that are
done already are left alone, so a run that was cut off goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

from pipelines.cli import main as dvse

_TEXT = Path("/usr/share/debian-reference")
_CARD = Path(__file__).with_name("bundle_card.md")
_DECODER = ("--decoder-widths", "128,64,32", "--decoder-blocks", "2")
_ENCODER = ("--stem-widths", "48,96", "--stem-top", "192", "--depth", "1", "--precision", "bf16")


def commands(data: Path, output: Path) -> dict[str, list[str]]:
    """Return the `dvse` command of each step, by the name of the folder that it writes.

    >>> list(commands(Path("data"), Path("runs")))
    ['text', 'codes', 'encoder', 'together', 'pixels', 'more', 'image', 'audio', 'tiny']
    """
    parts = {name: str(output / name) for name in ("text", "image", "audio")}
    texts = [str(_TEXT / f"debian-reference.{lang}.txt.gz") for lang in ("en", "zh-cn")]
    pictures = [
        *("train", "image", "--data", str(data / "cifar10-train.parquet")),
        *("--rows", "0:45000", "--validation-rows", "45000:50000"),
        *("--label-column", "label", "--label-weight", "0.5", "--decoded-share", "0.25"),
        *("--data-licence", "CIFAR-10 (Krizhevsky 2009), research use", "--threads", "2"),
    ]
    return {
        "text": ["train", "text", "--data", *texts, "--output", parts["text"]],
        "codes": [
            *(*pictures, "--epochs", "13", "--depth", "1"),
            *("--hard-from", "0.24", "--hard-by", "0.45", "--output", str(output / "codes")),
        ],
        "encoder": [
            *(*pictures, *_ENCODER, "--start", str(output / "codes"), "--new-encoder"),
            *("--label-weight", "1", "--label-smoothing", "0.05", "--epochs", "14"),
            *("--hard-from", "0.1", "--hard-by", "0.3", "--learning-rate", "2e-3"),
            *("--seed", "3", "--output", str(output / "encoder")),
        ],
        "together": [
            *(*pictures, *_ENCODER, "--start", str(output / "encoder"), "--learns", "all"),
            *("--label-weight", "1.5", "--label-smoothing", "0.02", "--epochs", "6"),
            *("--learning-rate", "1e-3", "--seed", "4", "--output", str(output / "together")),
        ],
        "pixels": [
            *(*pictures, *_ENCODER, *_DECODER, "--start", str(output / "together")),
            *("--learns", "pixels", "--label-weight", "0", "--decoded-share", "1"),
            *("--epochs", "4", "--output", str(output / "pixels")),
        ],
        "more": [
            *(*pictures, *_ENCODER, *_DECODER, "--start", str(output / "pixels")),
            *("--learns", "all", "--num-codes", "4096", "--batch-size", "128"),
            *("--label-weight", "1.5", "--label-smoothing", "0.02", "--epochs", "13"),
            *("--learning-rate", "1.5e-3", "--seed", "6", "--output", str(output / "more")),
        ],
        "image": [
            *(*pictures, *_ENCODER, *_DECODER, "--start", str(output / "more")),
            *("--context-widths", "64,256,256", "--context-epochs", "17"),
            *("--num-codes", "4096", "--batch-size", "128"),
            *("--label-weight", "1.5", "--label-smoothing", "0.1", "--epochs", "5"),
            *("--learning-rate", "1e-3", "--seed", "21", "--output", parts["image"]),
        ],
        "audio": [
            *("train", "audio", "--data", str(data / "fsdd"), "--output", parts["audio"]),
        ],
        "tiny": [
            *("build-bundle", "--name", "tiny", "--card", str(_CARD)),
            *(word for name, folder in parts.items() for word in (f"--{name}", folder)),
            *("--output", str(output / "tiny")),
        ],
    }


def main() -> int:
    """Run the steps that are missing; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    for name, words in commands(args.data, args.output).items():
        marker = "dvse.json" if name == "tiny" else "part.json"
        if (args.output / name / marker).is_file():
            print(f"{name}: done before")
            continue
        print("dvse " + " ".join(words), flush=True)
        if code := dvse(words):
            return code
    print(f"copy {args.output / 'tiny'} over dvse/bundles/tiny to ship it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
