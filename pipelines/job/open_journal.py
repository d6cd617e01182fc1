"""Which journal belongs to a place."""

from dvse.remote.remote_path import Location, RemotePath
from pipelines.job.directory_journal import DirectoryJournal
from pipelines.job.journal import Journal
from pipelines.job.store_journal import StoreJournal


def open_journal(output: Location) -> Journal:
    """Return the journal of a job that writes to `output`; nothing is read or made yet."""
    return StoreJournal(output) if isinstance(output, RemotePath) else DirectoryJournal(output)
