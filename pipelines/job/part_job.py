"""One part of a job, on one of several machines that share its output directory.

    turn: plan ─► own share ─► (what lost parts have left) ─► turn: sum up

The first part to come makes the plan while the others wait, and looks at everything that was there
before. Then each does the partitions of its share. Parts need to hear nothing of each other: a
partition's bytes are the same whoever makes it. Each sums up what is there when it ends, so the
last one sums up everything.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from dvse.errors import ConfigError
from pipelines.engines.engine import Engine, EngineStopped
from pipelines.job.batch_job import BatchJob
from pipelines.job.beats import Heart, Watch, forget_other_counts
from pipelines.job.beginning import Begun
from pipelines.job.feed import Feed
from pipelines.job.names import PlannedNames, are_planned, plan_names
from pipelines.job.occupation import PartPlace
from pipelines.job.part import Part
from pipelines.job.plan import Plan
from pipelines.job.stop_request import StoppedAtOnce
from pipelines.job.summary import Summary
from pipelines.job.takeover import Claims, left_behind
from pipelines.job.work import Work

_LOOK_S, _LOOKED_SHARE = 0.5, 0.1


@dataclass(kw_only=True)
class _Run:
    """What one run of a part has come to."""

    part: Part
    begun: Begun
    num_partitions: int
    work: Work | None = None


class PartJob(BatchJob):
    """Does the share of one part; the settings name it."""

    def _run(self) -> Summary:
        part = self._config.of_part
        assert part is not None, "a job without parts is a Job"
        if self._filters.judge.remembers:
            raise ConfigError(
                "--part: filters on duplicates compare an input with all before it, which other "
                "parts are at; leave them out of --filter and run dvse filter on the finished "
                "shards"
            )
        occupation = self._journal.occupation
        if (patience_s := self._config.take_over_s) and patience_s < 3 * occupation.beat_s:
            raise ConfigError(
                f"--take-over: expected at least {3 * occupation.beat_s:g} seconds, since parts "
                f"show that they live every {occupation.beat_s:g}; received {patience_s:g}"
            )
        heart = Heart(self._journal.beats, part, every_s=occupation.beat_s)
        with occupation.of(part, heart) as place:
            run = None
            try:
                with self._engine as engine:
                    run = self._planned(place, part, engine)
                    with place.alive(heart):
                        self._do_share(run, engine)
                        if not self._stop.is_set():
                            heart.say("done")
                            self._take_over(run, engine, heart)
            except (StoppedAtOnce, EngineStopped):
                pass
            except BaseException:
                # Nothing that fails now may hide what failed first.
                with contextlib.suppress(OSError):
                    if run is not None:
                        self._sum_up(place, run)
                raise
            return self._summary({}) if run is None else self._sum_up(place, run)

    def _planned(self, place: PartPlace, part: Part, engine: Engine) -> _Run:
        """Make the plan, or take that of the parts that are at work already."""
        journal, size = self._journal, self._config.shard_size
        # Whoever waits for the plan loads what encodes while another finds the inputs.
        with place.turn(self._stop.is_set, lambda: self._loaded(engine)) as has_come:
            if not has_come:
                raise StoppedAtOnce
            is_alone = place.take_if_empty()
            if not is_alone:
                place.share()
            begun = self._beginning.alone() if is_alone else self._beginning.joined()
            num_partitions = begun.numbering.num_partitions(size)
            if num_partitions is None:
                raise ConfigError(
                    "--part: the inputs hold a stream, of which nobody knows beforehand how long "
                    "it is; leave out streaming=true, or run the job once without --part"
                )
            run = _Run(part=part, begun=begun, num_partitions=num_partitions)
            if begun.before is None:
                run.work = self._opened(engine, begun)
            elif is_alone:
                self._beginning.take_up_finished(begun)
            run.begun = replace(begun, is_joined=True)
            if not are_planned(journal.names, journal.listing):
                plan_names(journal, self._plan(), markers=begun.markers, size=size)
            if is_alone:
                forget_other_counts(journal.beats, part.count)
                place.share()
        return run

    def _do_share(self, run: _Run, engine: Engine) -> None:
        share = run.part.share(run.num_partitions)
        self._progress.note(f"part {run.part}: {len(share):,} of {run.num_partitions:,} shards")
        left = run.begun.left(share)
        if left:
            total = run.begun.numbering.num_inputs_of(share, self._config.shard_size)
            self._do(run, engine, left, run.begun.only(share), total)

    def _take_over(self, run: _Run, engine: Engine, heart: Heart) -> None:
        """Do what lost parts have left, until all is done by somebody."""
        if (patience_s := self._config.take_over_s) is None:
            return
        journal = self._journal
        watch = Watch(journal.beats, patience_s=patience_s)
        claims = Claims(journal.claims, heart.owner, watch)
        while not self._stop.is_set():
            began = time.monotonic()
            watch.look()
            done = journal.done()
            missing = [p for p in range(run.num_partitions) if p not in done]
            if not missing:
                return
            free = left_behind(missing, run.part, watch, run.num_partitions)
            taken = (p for p in free if not journal.is_done(p) and claims.take(p))
            if (first := next(taken, None)) is None:
                # Of a million markers a look takes a while, and a store a thousand requests.
                looked_s = time.monotonic() - began
                self._wait(min(max(_LOOK_S, looked_s / _LOOKED_SHARE), patience_s / 2))
                continue
            self._progress.note(f"part {run.part}: doing what other parts have left")
            begun = run.begun.only(())
            self._do(run, engine, chain([first], taken), begun, total=None)

    def _wait(self, seconds: float) -> None:
        """Wait, unless somebody asks to stop."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))

    def _do(
        self, run: _Run, engine: Engine, wanted: Iterable[int], begun: Begun, total: int | None
    ) -> None:
        if run.work is None:
            run.work = self._opened(engine, run.begun)
        feed = Feed(
            self._journal,
            self._plan(),
            begun.numbering,
            names=PlannedNames(self._journal.names),
            size=self._config.shard_size,
            markers=begun.markers,
            again=begun.again,
            wanted=self._not_done_meanwhile(wanted, begun),
        )
        run.work.run(feed, begun, total=total)

    def _not_done_meanwhile(self, wanted: Iterable[int], begun: Begun) -> Iterator[int]:
        """Leave out what another part has done since."""
        return (p for p in wanted if p in begun.again or not self._journal.is_done(p))

    def _plan(self) -> Plan:
        journal = self._journal
        return Plan(
            journal.listing,
            self._config.source_options,
            stream_lengths=journal.stream_lengths(),
            on_stream_end=journal.write_stream_length,
        )

    def _sum_up(self, place: PartPlace, run: _Run) -> Summary:
        """Write what is there by now; in turn, so that the last part has the last word."""
        journal = self._journal
        with place.turn(self._stop.is_set):
            if place.take_if_empty():
                journal.clean()
            while True:
                done = journal.done()
                summary = self._write_results(journal.markers(), run.begun, run.work)
                # Where turns cannot be kept: what came in meanwhile is summed up as well.
                if journal.done() == done:
                    return summary
