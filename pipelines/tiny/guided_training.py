"""Trains a decoder with guides: as `dvse train decoder` does, with a second thing to learn.

    python -m pipelines.tiny.guided_training --tokens DIR --shown FILE --bundle B --output DIR

What comes out is a plain decoder. A run that was stopped goes on where it was; `--start` begins
with a model instead of with random weights.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

import dvse
from dvse.errors import ConfigError
from dvse.storage.finding import find_bundle
from pipelines.answering.model_directory import save_model
from pipelines.tiny.guides import GuidedDecoder, write_guided
from pipelines.training.decoder.loop import train_decoder
from pipelines.training.decoder.recipe import DecoderRecipe, read_recipe
from pipelines.training.decoder.start import new_decoder

RECIPE = Path(__file__).with_name("decoder.toml")


def train_guided(
    tokens: Path,
    shown: Path,
    bundle: str | Path,
    recipe: DecoderRecipe,
    output: Path,
    *,
    start: Path | None = None,
) -> Path:
    """Write a model directory; the run lies beside it and goes on where it stopped.

    Args:
        tokens: shards of `conversations.jsonl`.
        shown: the `shown.jsonl` beside that.
        bundle: that the shards were made with.
        recipe: shape and loop; the shape of `start` is kept.
        output: the model directory.
        start: a model to go on from.

    Raises:
        ConfigError: a bundle without pictures.
        TrainingError, ShardError: see `train_decoder`.
    """
    folder = find_bundle(bundle)
    tokenizer = dvse.load(folder)
    if tokenizer.image is None:
        raise ConfigError(f"{bundle}: expected a bundle that reads pictures, this one does not")
    run = output.with_name(output.name + ".run")
    guided = run / "tokens"
    write_guided(tokens, shown, guided, tokenizer)
    if start is None:
        plain = new_decoder(recipe, tokenizer)
        decoder = GuidedDecoder(plain.config)
        decoder.load_state_dict(plain.state_dict(), strict=False)
        decoder.tie_weights()
    else:
        decoder = GuidedDecoder.from_pretrained(start, dtype=torch.float32)
        decoder.config.use_cache = True  # checkpoints of a training say it is off
    train_decoder(decoder, tokenizer, guided, recipe, run, resume=True)
    return save_model(decoder.plain(), folder, output)


def main() -> int:
    """Train the shipped decoder, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--shown", type=Path, required=True)
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a model directory to go on from")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--learning-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = read_recipe(RECIPE)
    given = {
        "max_steps": args.steps,
        "learning_rate": args.learning_rate,
        "precision": args.precision,
        "seed": args.seed,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    recipe = replace(recipe, training=replace(recipe.training, **changed))
    path = train_guided(args.tokens, args.shown, args.bundle, recipe, args.output, start=args.start)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
