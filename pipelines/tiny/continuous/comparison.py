r"""What going discrete costs: one recipe, one set of conversations, tokens against features.

    python -m pipelines.tiny.continuous.comparison --chats FILE --held-out FILE --bundle B \
        --output DIR

Both decoders have the same shape, see the same rows in the same order for the same steps, and
begin with the same weights but for the rows of the codes. The features are those that the codes
are made of, before they are quantized. Held-out answers are compared word for word.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dvse
from dvse.storage.shard import read_metadata, shard_name
from dvse.tokenizer import Tokenizer
from model import DvseForCausalLM
from pipelines.answering.answerer import Answerer
from pipelines.answering.model_directory import LoadedModel
from pipelines.answering.settings import AnswerSettings
from pipelines.tiny.continuous.embedding import read_features
from pipelines.tiny.continuous.rows import FeatureTables, write_rows
from pipelines.tiny.guided_training import RECIPE
from pipelines.training.decoder.gates import answer_loss
from pipelines.training.decoder.loop import train_decoder
from pipelines.training.decoder.recipe import DecoderRecipe, read_recipe
from pipelines.training.decoder.sample_answers import samples_of
from pipelines.training.decoder.start import new_decoder


def compare(
    chats: Path,
    held_out: Path,
    tokenizer: Tokenizer,
    recipe: DecoderRecipe,
    output: Path,
    *,
    limit: int | None = None,
    count: int = 500,
) -> dict[str, Any]:
    """Train both decoders and return the figures of each.

    Args:
        chats, held_out: JSONL of `pipelines.tiny.conversations.writing`.
        tokenizer: of the bundle.
        recipe: of both.
        output: for shards, logs and checkpoints.
        limit: conversations to train on; all by default.
        count: first questions of held-out rows, asked without thinking.
    """
    tables = FeatureTables()
    train = write_rows(chats, tokenizer, tables, output / "train", limit=limit)
    test = write_rows(held_out, tokenizer, tables, output / "held-out")
    found: dict[str, Any] = {
        "steps": recipe.training.max_steps,
        "rows": len(read_metadata(train.discrete / shard_name(0)).lengths),
        "how": "same decoder, rows, order and steps; answers to the first question of held-out "
        "rows, without thinking, compared word for word",
    }
    for name in ("discrete", "continuous"):
        decoder = new_decoder(recipe, tokenizer)
        if name == "continuous":
            read_features(decoder, tables.arrays())
        train_decoder(decoder, tokenizer, getattr(train, name), recipe, output / f"{name}.run")
        shards = getattr(test, name)
        found[name] = {
            "answer_loss": round(answer_loss(decoder, shards, recipe), 4),
            **_exact(decoder, tokenizer, shards, count),
        }
    return found


def _exact(
    decoder: DvseForCausalLM, tokenizer: Tokenizer, shards: Path, count: int
) -> dict[str, Any]:
    samples = samples_of(shards / shard_name(0), tokenizer, count=count)
    loaded = LoadedModel(
        name="compared", model=decoder.eval(), tokenizer=tokenizer, device=str(decoder.device)
    )
    prompts = [sample.prompt for sample in samples]
    answers = Answerer(loaded).answer(prompts, AnswerSettings(max_new_tokens=64), score=False)
    right: dict[str, list[bool]] = {}
    for number, answer in answers:
        sample = samples[number]
        kind = _kind(sample.prompt, tokenizer)
        right.setdefault(kind, []).append(answer.text == sample.expected)
    return {
        f"exact_{kind}": round(float(np.mean(flags)), 4) for kind, flags in sorted(right.items())
    } | {f"asked_{kind}": len(flags) for kind, flags in sorted(right.items())}


def _kind(prompt: np.ndarray, tokenizer: Tokenizer) -> str:
    begins = {
        kind: tokenizer.vocabulary.special_id(f"<|begin_of_{kind}|>") for kind in ("image", "audio")
    }
    return next((kind for kind, begin in begins.items() if begin in prompt), "text")


def main() -> int:
    """Compare and write the figures to `continuous.json` in the output folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chats", type=Path, required=True, help="conversations to train on")
    parser.add_argument("--held-out", type=Path, required=True, help="conversations to ask about")
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--limit", type=int, help="conversations to train on (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = read_recipe(RECIPE)
    if args.steps:
        recipe = replace(recipe, training=replace(recipe.training, max_steps=args.steps))
    figures = compare(
        args.chats, args.held_out, dvse.load(args.bundle), recipe, args.output, limit=args.limit
    )
    (args.output / "continuous.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
