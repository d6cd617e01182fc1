"""How the shipped decoder `tiny` is made, as one would type it.

    python -m pipelines.tiny_model --data FOLDER --output DIR

`FOLDER` is that of `pipelines.tiny_bundle`; the bundle comes from there. Steps that are done are
left alone, and the tokenizing and training go on where they stopped.
"""

import argparse
import sys
from pathlib import Path

from pipelines.cli import main as dvse
from pipelines.tiny_model import conversations, scoring

RECIPE = Path(__file__).with_name("decoder.toml")


def main() -> int:
    """Run the steps that are missing; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", default="tiny", help="a shipped name or a folder")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    chats, tokens, model = (args.output / name for name in ("chats", "tokens", "tiny"))
    path = chats / "conversations.jsonl"
    if not path.is_file():
        path = conversations.write_conversations(args.data, chats, counts=conversations.Counts())
    bundle = ["--bundle", args.bundle]
    steps = [["tokenize", str(path), *bundle, "--output", str(tokens)]]
    if not (model / "config.json").is_file():
        train = ["train", "decoder", "--data", str(tokens), "--recipe", str(RECIPE), "--resume"]
        steps.append([*train, *bundle, "--output", str(model)])
    for words in steps:
        print("dvse " + " ".join(words), flush=True)
        if code := dvse(words):
            return code
    figures = args.output / "figures.json"
    sys.argv = ["scoring", str(model), "--data", str(args.data), "--output", str(figures)]
    scoring.main()
    print(f"copy {model} over dvse/bundles/tiny to ship it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
