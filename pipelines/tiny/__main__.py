"""How the shipped decoder `tiny` is made, as one would type it.

    python -m pipelines.tiny --data FOLDER --output DIR

`FOLDER` is that of `pipelines.tiny.bundle`; the bundle comes from there. Digits and other words are
spoken by Debian's `espeak-ng`; odd pictures, sounds and texts come from `tuxpaint-stamps-default`,
`gnome-backgrounds`, `mate-backgrounds`, `plasma-workspace-wallpapers`, `debian-reference-en` and
`debian-reference-zh-cn`, as far as they are installed. Steps that are done are left alone, and the
tokenizing and training go on where they stopped.
"""

import argparse
import json
import sys
from pathlib import Path

from pipelines.answering.captioner import Captioner
from pipelines.cli import main as dvse
from pipelines.tiny.card import write_card
from pipelines.tiny.conversations import writing
from pipelines.tiny.gating import gate
from pipelines.tiny.guided_training import RECIPE, train_guided
from pipelines.tiny.odd_scoring import score_odd
from pipelines.tiny.scoring import score
from pipelines.training.decoder.recipe import read_recipe

HELD_OUT_COUNTS = writing.Counts(
    pictures=500,
    mosaics=250,
    digits=150,
    sequences=300,
    texts=50,
    drawings=50,
    odd_pictures=100,
    odd_recordings=100,
)


def main() -> int:
    """Run the steps that are missing; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", default="tiny", help="a shipped name or a folder")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    model, tokens = args.output / "dense", args.output / "tokens"
    held_out, gated = args.output / "held-out", args.output / "gated"
    bundle = ["--bundle", args.bundle]
    materials = (
        (tokens, writing.TRAINING, writing.Counts()),
        (held_out, writing.HELD_OUT, HELD_OUT_COUNTS),
    )
    steps = []
    for shards, material, counts in materials:
        chats = shards.with_name(shards.name + "-chats")
        path = chats / "conversations.jsonl"
        if not path.is_file():
            writing.write_conversations(args.data, chats, counts=counts, material=material)
        steps.append(["tokenize", str(path), *bundle, "--output", str(shards)])
    for words in steps:
        print("dvse " + " ".join(words), flush=True)
        if code := dvse(words):
            return code
    if not (model / "config.json").is_file():
        shown = args.output / "tokens-chats" / "shown.jsonl"
        train_guided(tokens, shown, args.bundle, read_recipe(RECIPE), model)
    if not (args.output / "gates.json").is_file():
        gate(model, tokens, held_out, gated)
    chosen = gated if (gated / "config.json").is_file() else model
    captioner = Captioner.load(chosen)
    figures = {**score(captioner, args.data), "odd": score_odd(captioner, args.data)}
    (args.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(chosen, figures)
    print(f"copy {chosen} over dvse/bundles/tiny to ship it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
