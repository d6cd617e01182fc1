"""`dvse evaluate`."""

import argparse
from pathlib import Path
from typing import Any

from pipelines.commands.fields import add_flags, from_flags
from pipelines.evaluation.settings import EvaluationSettings

HELP = """Judge a bundle or model on labelled data: metrics.json, report.html, and a gate.

Of a bundle the codes are judged. A model's captions are held against references (accuracy, word
error rate, BLEU, CIDEr) too, and the decoder's states of pictures, recordings and texts are made
to find each other among 100.

exit codes: 0 the gate is passed, 1 it could not be measured, 3 a threshold is missed"""
EXAMPLES = """\
  dvse evaluate tiny --data ../shared/data --output runs/evaluation
  dvse evaluate tiny --data ../shared/data --output runs/captions --only captions
  dvse evaluate my-bundle --data labelled/ --gate gate.json --output runs/evaluation
  dvse evaluate my-bundle --data labelled/ --precision bfloat16 --output runs/bfloat16

data: a folder with a cifar10-train.parquet and fsdd/manifest.jsonl is understood as it is; of any
other folder a file evaluation.json says which rows belong to which split:
  {"image": {"path": "pictures.parquet", "label": "label", "caption": "a photo of {a_label}",
             "train": {"rows": [0, 45000]}, "splits": {"validation": {"rows": [45000, 50000]}}},
   "audio": {"path": "clips/manifest.jsonl", "label": "text", "speaker": "speaker",
             "train": {"where": {"speaker": "anna|bert"}},
             "splits": {"unknown": {"where": {"speaker": "carl"}}},
             "phones": {"path": "alignments"}, "items": "dev.item"},
   "text": {"path": "*.txt"}}
gate: {"image.psnr_db": {"at_least": 22}, "text.unknown": {"at_most": 0, "required": true}}"""

EXIT_MISSED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "bundle", metavar="BUNDLE|MODEL", help="a shipped name (tiny), a folder, or a Hub id"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--gate", type=Path, metavar="FILE", help="thresholds (defaults included)")
    parser.add_argument(
        "--layout", type=Path, metavar="FILE", help="description of the data, if it is not in DIR"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    add_flags(parser, EvaluationSettings)
    parser.add_argument(
        "--only", choices=["codes", "captions"], help="leave the other half out (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print the verdicts."""
    import sys

    import dvse
    from dvse.errors import BundleNotFoundError
    from pipelines.evaluation.evaluation import evaluate
    from pipelines.evaluation.thresholds import is_passed, read_thresholds
    from pipelines.reports.evaluation_report import write_evaluation
    from pipelines.reports.precision_lines import precision_lines

    settings = from_flags(EvaluationSettings, args, codes=args.only != "captions")
    exact: Any = {"device": args.device, "batch_tokens": settings.batch_tokens}
    where: Any = {**exact, "precision": settings.precision}
    captioner, is_rounded = None, settings.precision != "float32"
    reference: Any = None
    if args.only != "codes":
        from pipelines.answering.captioner import Captioner

        try:
            captioner = Captioner.load(args.bundle, **where)
            reference = Captioner.load(args.bundle, **exact) if is_rounded else None
        except BundleNotFoundError:
            if args.only == "captions":
                raise
    tokenizer = captioner.tokenizer if captioner else dvse.load(args.bundle, **where)
    if is_rounded and reference is None:
        reference = dvse.load(args.bundle, **exact)
    found = evaluate(
        tokenizer,
        args.data,
        thresholds=read_thresholds(args.gate),
        captioner=captioner,
        reference=reference,
        layout=args.layout,
        settings=settings,
        progress=lambda line: print(line, file=sys.stderr),
    )
    print("drawing the report", file=sys.stderr)
    write_evaluation(tokenizer, found, args.output)
    for verdict in found.verdicts:
        sign = "not measured" if verdict.value is None else "ok" if verdict.is_met else "MISSED"
        value = "" if verdict.value is None else f"{verdict.value:g}"
        print(f"{sign:12} {verdict.metric:44} {value:>10}  {verdict.bound}")
    for line in precision_lines(found.metrics.get("precision", {}), settings.precision):
        print(line)
    print(f"open {args.output / 'report.html'}")
    return 0 if is_passed(found.verdicts) else EXIT_MISSED
