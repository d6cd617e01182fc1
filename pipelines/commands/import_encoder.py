"""`dvse import encoder`: a published checkpoint in, a directory of transformers out."""

import argparse
from pathlib import Path

from pipelines.commands.answers import yes_or_no

HELP = """Bring a published speech encoder into transformers' layout, without running what it holds.

Wav2Vec2, HuBERT and WavLM of fairseq and fairseq2 (.pt), torchaudio, SpeechBrain and transformers
(.bin or safetensors, a file or a directory). Tensors only; a tensor without a place is refused by
name."""
EXAMPLES = """\
  dvse import encoder hubert_base_ls960.pt --normalize no --pre-norm no --output runs/hubert"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, metavar="FILE|DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--normalize", type=yes_or_no, metavar="yes|no", help="scale the input")
    parser.add_argument("--pre-norm", type=yes_or_no, metavar="yes|no", help="base: no; large: yes")
    parser.add_argument(
        "--num-heads", type=int, metavar="N", help="up to 1,024 channels 64 each by default"
    )
    parser.add_argument(
        "--sample-rate-hz",
        type=int,
        metavar="N",
        help="of the encoder (default: what its files say, else 16000)",
    )


def run(args: argparse.Namespace) -> int:
    """Import, say what came out."""
    from pipelines.importing.encoder import EncoderFacts, import_encoder

    folder = import_encoder(
        args.source,
        args.output,
        facts=EncoderFacts(
            normalize=args.normalize, pre_norm=args.pre_norm, num_heads=args.num_heads
        ),
        sample_rate_hz=args.sample_rate_hz,
    )
    print(f"{folder}: an encoder of transformers; give it to --encoder")
    return 0
