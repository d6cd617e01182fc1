"""How the shipped decoder `tiny` is made, as one would type it.

    python -m pipelines.tiny --data FOLDER --output DIR

`FOLDER` is that of `pipelines.tiny.bundle`; the bundle comes from there. Digits and other words are
spoken by Debian's `espeak-ng` and, where they are installed, `flite` and `festival`; odd pictures,
sounds and texts come from `tuxpaint-stamps-default`, `openclipart-png`, `gnome-backgrounds`,
`mate-backgrounds`, `plasma-workspace-wallpapers`, `ukui-wallpapers`, `debian-reference-en` and
`debian-reference-zh-cn`, as far as they are installed. It goes through `pipelines.tiny.stages`;
what is done is left alone, and the tokenizing and training go on where they stopped.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.answering.captioner import Captioner
from pipelines.tiny.averaging import average
from pipelines.tiny.card import write_card
from pipelines.tiny.conversations.talk import SHARES
from pipelines.tiny.conversations.writing import HELD_OUT, Counts
from pipelines.tiny.gating import gate
from pipelines.tiny.odd_scoring import score_odd
from pipelines.tiny.scoring import score
from pipelines.tiny.staged_training import TOKENS, learn, tokenized
from pipelines.tiny.stages import SHIPPED, STAGES, Stage

HELD_OUT_COUNTS = Counts(
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
    """Run the steps that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", default="tiny", help="a shipped name or a folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of conversations and steps, for trials"
    )
    args = parser.parse_args()
    output = args.output
    models = {
        stage.name: learn(in_part(stage, args.share), args.data, args.bundle, output)
        for stage in STAGES
    }
    model = average([models[name] for name in SHIPPED], output / "mean")
    held_out = tokenized(
        output / "held-out",
        args.data,
        args.bundle,
        counts=HELD_OUT_COUNTS,
        seed=0,
        talk=SHARES,
        material=HELD_OUT,
    )
    gated = output / "gated"
    if not (output / "gates.json").is_file():
        gate(model, output / STAGES[-1].name / TOKENS, held_out, gated)
    chosen = gated if (gated / "config.json").is_file() else model
    captioner = Captioner.load(chosen)
    figures = {**score(captioner, args.data), "odd": score_odd(captioner, args.data)}
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(chosen, figures)
    print(f"copy {chosen} over dvse/bundles/tiny to ship it")
    return 0


def in_part(stage: Stage, share: float) -> Stage:
    """Return the stage with a share of its conversations and steps."""
    counts = Counts(**{name: int(count * share) for name, count in vars(stage.counts).items()})
    return replace(stage, counts=counts, num_steps=max(1, int(stage.num_steps * share)))


if __name__ == "__main__":
    sys.exit(main())
