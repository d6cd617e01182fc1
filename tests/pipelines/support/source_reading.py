"""What a source makes of inputs, read as a job reads them."""

from pipelines.sources.entry import Entry
from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source


def records(*inputs, template=None, start=0):
    options = SourceOptions(template=template)
    found = []
    for entry in Lister(options).entries([str(i) for i in inputs]):
        assert Entry.from_json(entry.to_json()) == entry
        mine = list(make_source(entry.kind, options).records(entry))
        if entry.count is not None:
            assert len(mine) == entry.count
            for skip in range(len(mine)):
                later = list(make_source(entry.kind, options).records(entry, skip))
                assert later == mine[skip:]
        found += mine
    return found


def described(record):
    if record.failure is not None:
        return f"{record.failure.type}: {record.failure.reason}"
    return [(p.kind, p.place.read()) for p in record.refs]
