"""The `dvse` command: finds the subcommand, runs it, turns errors into one line and an exit code.

A subcommand is a module with `HELP`, `EXAMPLES`, `add_arguments(parser)` and `run(args) -> int`.
Only the one that was asked for is imported, so `dvse --help` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper

from dvse.errors import ConfigError, DvseError
from dvse.version import __version__

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Command:
    """A subcommand: its words, one line of help, and the module that holds it."""

    words: tuple[str, ...]
    help: str
    module: str


COMMANDS = (
    Command(("tokenize",), "turn files into token shards", "tokenize"),
    Command(("plan", "train"), "say what a step of a decoder's training holds", "plan_train"),
    Command(
        ("plan", "batches"), "measure how many tokens a forward pass should hold", "plan_batches"
    ),
    Command(("plan",), "say what tokenising a lot would take, and what limits it", "plan"),
    Command(("caption",), "say what is in files, or answer questions about them", "caption"),
    Command(("verify",), "prove that token shards are whole and still come out the same", "verify"),
    Command(("inspect",), "show the tokens of a file or shard to a person", "inspect"),
    Command(("export", "onnx"), "write a model as ONNX graphs", "export_onnx"),
    Command(("export", "executorch"), "write a model for phones", "export_executorch"),
    Command(("export", "coreml"), "write a model for Apple's systems", "export_coreml"),
    Command(("export", "tensorrt"), "build TensorRT engines of ONNX graphs", "export_tensorrt"),
    Command(("export",), "write token shards as a trainer's files", "export"),
    Command(("filter",), "leave rows of token shards out, and say why", "filter"),
    Command(("compose",), "make new rows of finished tokens by templates", "compose"),
    Command(("mix",), "say what a mixture of token shards will hold", "mix"),
    Command(("train", "text"), "train a SentencePiece model", "train_text"),
    Command(("train", "image"), "train an image tokenizer", "train_image"),
    Command(("train", "audio"), "train speech units", "train_audio"),
    Command(("train", "bpe"), "learn frequent runs of speech units", "train_bpe"),
    Command(("train", "decoder"), "train a decoder on token shards", "train_decoder"),
    Command(("import", "units"), "make a part of published speech units", "import_units"),
    Command(("import", "encoder"), "take in a published speech encoder", "import_encoder"),
    Command(("import", "image"), "take in a published picture tokenizer", "import_image"),
    Command(("import", "text"), "take in a published text tokenizer", "import_text"),
    Command(("import", "codec"), "take in a published neural codec", "import_codec"),
    Command(("build-bundle",), "put trained parts together into a bundle", "build_bundle"),
    Command(("quantize",), "make a model with 8 or 4 bits a weight", "quantize"),
    Command(("serve",), "answer over HTTP, as OpenAI's API does", "serve"),
    Command(("edge",), "answer with a small model here that asks a large one elsewhere", "edge"),
    Command(("evaluate",), "judge a bundle: figures, a page, a gate", "evaluate"),
    Command(("model-card",), "say what a decoder weighs and where it fits", "model_card"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dvse` and return its exit code.

    0 done; 1 failed, the reason is on stderr; 2 the command line is wrong; 130 interrupted.
    Subcommands may add codes of their own and say so in their help.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    _print_any_name()
    command = _find(argv)
    if command is None:
        return _help(argv)
    module = import_module(f"pipelines.commands.{command.module}")
    parser = argparse.ArgumentParser(
        prog=f"dvse {' '.join(command.words)}",
        description=f"{module.HELP}",
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    words = argv[len(command.words) :]
    parser.set_defaults(words=words)  # for those that start themselves again
    args = parser.parse_args(words)
    try:
        code = module.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        reason, code = "interrupted", EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; Python would complain on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except ConfigError as error:  # the value of an option, or what stands in a file of options
        reason, code = str(error), EXIT_USAGE
    except DvseError as error:
        reason, code = str(error), EXIT_ERROR
    except OSError as error:  # a full disk, a folder that may not be written
        reason, code = str(error), EXIT_ERROR
    print(f"{parser.prog}: {reason}", file=sys.stderr)
    return code


def _find(argv: Sequence[str]) -> Command | None:
    for command in COMMANDS:
        if tuple(argv[: len(command.words)]) == command.words:
            return command
    return None


def _help(argv: Sequence[str]) -> int:
    if argv and argv[0] == "--version":
        print(f"dvse {__version__}")
        return EXIT_OK
    group = [c for c in COMMANDS if argv and c.words[0] == argv[0]]
    rest = argv[1:] if group else argv
    is_wrong = bool(rest) and rest[0] not in ("-h", "--help", "help")
    stream = sys.stderr if is_wrong else sys.stdout
    if is_wrong:
        print(f"dvse: unknown command {' '.join(argv[: len(argv) - len(rest) + 1])!r}", file=stream)
    print("usage: dvse COMMAND [ARGUMENT ...]\n\ncommands:", file=stream)
    for command in group or COMMANDS:
        print(f"  {' '.join(command.words):14} {command.help}", file=stream)
    print(
        "\nexamples:\n"
        "  dvse tokenize photos/ seven.wav --output tokens\n"
        "  dvse inspect photos/cat.jpg\n"
        "\n'dvse COMMAND --help' tells more of each.",
        file=stream,
    )
    return EXIT_USAGE if is_wrong else EXIT_OK


def _print_any_name() -> None:
    """Let a file name that is not UTF-8 be printed, with its odd bytes escaped."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
