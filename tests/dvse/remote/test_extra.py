"""Without the extra the message names it; with it a wrong address is one sentence, too."""

import fsspec
import pytest

from dvse.errors import InputError, MissingExtraError
from dvse.remote import object_store


@pytest.mark.parametrize(
    ("address", "package"),
    [("s3://b/a", "s3fs"), ("gs://b/a", "gcsfs"), ("https://h/a", "aiohttp")],
)
def test_a_missing_client_names_the_extra(monkeypatch, address, package):
    def missing(protocol, **options):
        raise ImportError(f"Install something to access {protocol}")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(MissingExtraError) as caught:
        object_store.read(address)
    assert str(caught.value) == (
        f"{package} is not installed; install it with: pip install 'dvse[remote]'"
    )


def test_a_folder_is_no_object():
    fsspec.filesystem("memory").store.clear()
    object_store.write("memory://bucket/folder/a", b"1")
    with pytest.raises(InputError):
        object_store.read("memory://bucket/folder")
    fsspec.filesystem("memory").store.clear()
