"""`dvse plan batches`."""

import argparse

from dvse.errors import ConfigError
from pipelines.commands.fields import add_flags, from_flags
from pipelines.commands.runtime import opened
from pipelines.runs.numerics_settings import NumericsSettings
from pipelines.runtimes.runtime_settings import RuntimeSettings
from pipelines.sources.registry import SourceOptions

HELP = """\
Measure how many tokens a forward pass of the encoders should hold on a device.

Decodes a sample of the inputs and encodes it in batches of rising budgets, powers of two, up to
where more brings nothing or memory is full. A line each says how fast full batches are and which
share of the sample's codes stays as it is without a budget; the last line says what to give to
dvse tokenize. A budget is part of the numerics profile: recorded in shards, and a job is not
continued under another one. (Inputs in a folder called batches: dvse plan ./batches.)"""
EXAMPLES = """\
  dvse plan batches photos/ --device cuda --precision bfloat16
  dvse plan batches photos/ clips/ --bundle my-bundle --threads 8

exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 there is nothing to encode"""

EXIT_NOTHING = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument(
        "--bundle", default="tiny", help="name, directory or Hub id (default: %(default)s)"
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--samples", type=int, default=64, metavar="N", help="inputs to try (default: %(default)s)"
    )
    add_flags(parser, NumericsSettings, RuntimeSettings, SourceOptions)


def run(args: argparse.Namespace) -> int:
    """Print what was measured, and the budget to take."""
    if args.samples < 1:
        raise ConfigError(f"--samples: expected at least 1, received {args.samples}")
    numerics = from_flags(NumericsSettings, args)

    import dvse
    from dvse.audio.recording_tokenizer import RecordingTokenizer
    from dvse.image.picture_tokenizer import PictureTokenizer
    from pipelines.job.batch_plan import best_budget, plan_batches
    from pipelines.job.sample import sample_of
    from pipelines.job.sampled_chunks import sampled_chunks

    tokenizer = dvse.load(
        opened(args.bundle, args),
        device=args.device,
        threads=numerics.threads,
        precision=numerics.precision,
    )
    sample = sample_of(args.inputs, from_flags(SourceOptions, args), num_samples=args.samples)
    chunks = sampled_chunks(sample.records, tokenizer.preparer)
    plans = []
    found: dict[str, PictureTokenizer | RecordingTokenizer | None]
    found = {"image": tokenizer.image, "audio": tokenizer.audio}
    for modality, media in found.items():
        mine = [chunk for chunk in chunks if chunk.modality == modality]
        if media is None or not mine:
            continue
        with tokenizer.profile.pinned():
            plan = plan_batches(media, mine)
        if plan is None:
            print(
                f"{modality}: nothing in the sample shares a batch; of recordings only full "
                "windows do"
            )
            continue
        print(plan.table())
        plans.append(plan)
    if not chunks:
        print("there is no picture and no recording among the inputs that could be read")
        return EXIT_NOTHING
    print(_advice(best_budget(plans), is_measured=bool(plans)))
    return 0


def _advice(budget: int | None, *, is_measured: bool) -> str:
    if not is_measured:
        return "--batch-tokens would change nothing"
    if budget is None:
        return "the default is within 3 % of the best: leave --batch-tokens out"
    return f"take --batch-tokens {budget}"
