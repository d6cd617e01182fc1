"""Recordings of a training, wherever they lie."""

from dvse.items import Audio
from dvse.remote.remote_path import Location, RemotePath


def recording_at(place: Location) -> Audio:
    """Return the recording at a place; one in a store is held in memory.

    Raises:
        InputError: it is missing or forbidden.
        StorageError: the store does not answer.
    """
    source = place.read_bytes() if isinstance(place, RemotePath) else place
    return Audio(source, name=str(place))
