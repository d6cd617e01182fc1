"""A whole job: list inputs, compare with the journal, run what is missing, commit, sum up.

    inputs ─ plan ─► partitions ─ engine ─► outcomes ─► Partition ─ filters ─► writer ─► shard

It is alone in its directory; `PartJob` is one of several.
"""

import contextlib

from pipelines.engines.engine import EngineStopped
from pipelines.job.batch_job import BatchJob
from pipelines.job.beginning import Begun
from pipelines.job.feed import Feed
from pipelines.job.names import ClaimedNames, taken_names
from pipelines.job.plan import Plan
from pipelines.job.stop_request import StoppedAtOnce
from pipelines.job.summary import Summary


class Job(BatchJob):
    """A batch job over many inputs, in one process and those that it starts."""

    def _run(self) -> Summary:
        with self._journal.occupation.alone():
            try:
                begun = self._beginning.alone()
            except StoppedAtOnce:
                return self._summary({})
            expected = begun.numbering.num_partitions(self._config.shard_size)
            is_begun = begun.before is not None and expected is not None
            if is_begun and not begun.left(range(expected or 0)):
                self._beginning.take_up_finished(begun)
                self._journal.assemble_lines(begun.finished.values(), ())
                return self._summary(begun.finished, begun)
            return self._work(begun)

    def _work(self, begun: Begun) -> Summary:
        markers = begun.markers
        work = None
        try:
            with self._engine as engine:
                work = self._opened(engine, begun)
                work.run(self._feed(begun), begun, total=begun.numbering.num_inputs)
        except EngineStopped:
            return self._summary(begun.finished, begun)
        except BaseException:
            # Nothing that fails now may hide what failed first.
            with contextlib.suppress(OSError):
                if work is not None:
                    self._write_results(markers | work.done, begun, work)
            raise
        return self._write_results(markers | work.done, begun, work)

    def _feed(self, begun: Begun) -> Feed:
        journal, config = self._journal, self._config
        plan = Plan(
            journal.listing,
            config.source_options,
            stream_lengths=journal.stream_lengths(),
            on_stream_end=journal.write_stream_length,
        )
        names = ClaimedNames(
            taken_names(journal, begun.markers),
            (line for lines in begun.again.values() for line in lines),
        )
        return Feed(
            journal,
            plan,
            begun.numbering,
            names=names,
            size=config.shard_size,
            markers=begun.markers,
            again=begun.again,
        )
