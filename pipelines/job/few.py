"""A step on a few inputs at once, without a job: nothing is written, nothing is remembered."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from dvse.errors import ConfigError
from pipelines.engines.engine import Engine, Numbered, Outcome
from pipelines.job.plan import Plan, write_listing
from pipelines.job.unique_names import UniqueNames
from pipelines.sources.registry import SourceOptions
from pipelines.steps.step import Step


def outcomes_of_few(
    inputs: Sequence[str], options: SourceOptions, step: Step, engine: Engine, *, most: int
) -> list[Outcome]:
    """Return the outcome of each input, in order.

    Args:
        inputs: files, folders, globs, containers, `hf:` addresses.
        options: for the sources.
        step: what is done.
        engine: where; opened and closed here.
        most: inputs that may be.

    Raises:
        ConfigError: more inputs than that.
        DvseError: the step cannot be opened.
    """
    names = UniqueNames()
    with TemporaryDirectory() as folder, engine:
        listing = Path(folder) / "listing.jsonl"
        write_listing(listing, inputs, options)
        records = Plan(listing, options).records([(0, None)])
        numbered = [
            Numbered(partition=0, index=index, record=record.renamed(names.claim(record.id)))
            for index, record in islice(records, most + 1)
            if record is not None
        ]
        if len(numbered) > most:
            raise ConfigError(f"more than {most} inputs; give --output FILE to caption them all")
        engine.num_expected = len(numbered)
        engine.open(step)
        return sorted(engine.run(iter(numbered)), key=lambda outcome: outcome.index)
