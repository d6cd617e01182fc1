"""Two long listings that hardly differ: what differs is found, and little is held in memory."""

import tracemalloc

from pipelines.job.comparison import Comparison
from pipelines.job.permissions import Permissions
from pipelines.job.reconciliation import reconcile
from pipelines.sources.entry import Entry, Stamp
from pipelines.sources.registry import SourceOptions

COUNT = 20_000


class NoRows:
    """Nothing was made yet of any input."""

    def get(self, number):
        return None

    def error(self, number):
        return None


def entry(number):
    name = f"{number // 1000:03d}/{number:06d}.png"
    return Entry(kind="image", path=f"/data/pictures/{name}", name=name, stamp=Stamp(number, 7))


def write(path, entries):
    with path.open("w") as file:
        file.writelines(one.to_json() + "\n" for one in entries)
    return path


def test_what_differs_is_found_and_hardly_anything_else_held(tmp_path):
    listing = write(tmp_path / "listing", map(entry, range(COUNT)))
    now = [entry(number) for number in range(COUNT)]
    now[5] = now[5]._replace(stamp=Stamp(1, 8))
    now[9000:9001] = []
    now.append(entry(COUNT))
    found = write(tmp_path / "found", now)
    del now
    tracemalloc.start()
    comparison = Comparison(
        listing, found, rows=NoRows(), options=SourceOptions(), stream_lengths={}
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A hundred bytes a line at most; an entry in memory takes ten times as many.
    assert peak < 100 * COUNT
    assert [one.path for one in comparison.added] == [entry(COUNT).path]
    assert [known.positions for known in comparison.gone] == [[9000]]
    assert [now.path for _, now, _ in comparison.changes] == [entry(5).path]
    assert comparison.num_numbers == COUNT
    assert not comparison.is_reordered
    settled = reconcile(
        comparison, size=1000, may=Permissions(append=True, redo_changed=True, retry_errors=False)
    )
    lines = list(settled.lines(listing))
    assert len(lines) == COUNT + 2
    kinds = [Entry.from_json(lines[n]).kind for n in (4, 5, 9000, COUNT, COUNT + 1)]
    assert kinds == ["image", "image", "hole", "boundary", "image"]
    assert Entry.from_json(lines[5]).stamp == Stamp(1, 8)


def test_another_order_is_seen_without_holding_what_is_the_same(tmp_path):
    entries = [entry(number) for number in range(50)]
    listing = write(tmp_path / "listing", entries)
    found = write(tmp_path / "found", [*entries[1:], entries[0]])
    options = {"rows": NoRows(), "options": SourceOptions(), "stream_lengths": {}}
    assert Comparison(listing, found, **options).is_reordered
    assert not Comparison(listing, listing, **options).is_reordered
