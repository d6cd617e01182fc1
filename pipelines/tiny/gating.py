"""Gives the trained `tiny` its gates, and keeps them where answers suffer by 1 % at most.

python -m pipelines.tiny.gating MODEL --tokens DIR --held-out DIR --output DIR

Further steps are trained from the shards that made it; losses are those of held-out shards.
"""

import argparse
import json
import sys
from pathlib import Path

import dvse
from pipelines.answering.model_directory import save_model
from pipelines.tiny.guided_training import RECIPE
from pipelines.training.decoder.gates import Gated, brief, gate_decoder
from pipelines.training.decoder.recipe import read_recipe

MOST_COST = 0.01
SAVING = 0.18


def gate(
    model: Path,
    tokens: Path,
    held_out: Path,
    output: Path,
    *,
    num_steps: int = 250,
    learning_rate: float = 5e-4,
) -> Gated:
    """Train gates; write the gated model to `output` where it holds, the figures in any case.

    Figures go to `gates.json` beside `output`.
    """
    recipe = brief(read_recipe(RECIPE), num_steps=num_steps, learning_rate=learning_rate)
    run = output.with_name(output.name + ".run")
    gated = gate_decoder(model, dvse.load(model), tokens, held_out, recipe, run, saving=SAVING)
    is_kept = gated.figures.cost <= MOST_COST
    figures = {**gated.figures.to_dict(), "most_cost": MOST_COST, "is_kept": is_kept}
    output.with_name("gates.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    if is_kept:
        save_model(gated.decoder, model, output)
    return gated


def main() -> int:
    """Gate a model directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=Path, required=True, help="shards it was trained on")
    parser.add_argument("--held-out", type=Path, required=True, help="shards it never saw")
    parser.add_argument("--output", type=Path, required=True, help="the gated model directory")
    parser.add_argument("--steps", type=int, default=250, help="of further training")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    args = parser.parse_args()
    gate(
        args.model,
        args.tokens,
        args.held_out,
        args.output,
        num_steps=args.steps,
        learning_rate=args.learning_rate,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
