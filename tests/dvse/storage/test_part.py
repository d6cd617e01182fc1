"""A trained part on disk."""

import pytest

from dvse.errors import BundleFormatError, BundleNotFoundError
from dvse.storage.part import Part


@pytest.fixture
def part(tmp_path) -> Part:
    part = Part(
        modality="image",
        folder=tmp_path / "runs" / "image",
        spec={"patch_size": 4},
        metrics={"psnr_db": 21.5},
        provenance={"data": ["CIFAR-10"], "note": "三"},
    )
    part.save()
    return part


def test_what_is_saved_is_loaded(part):
    assert Part.load(part.folder) == part
    assert Part.load(str(part.folder), modality="image") == part


def test_a_folder_without_a_part(tmp_path):
    with pytest.raises(BundleNotFoundError, match="written by dvse train"):
        Part.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_no_json(part, content):
    (part.folder / "part.json").write_bytes(content)
    with pytest.raises(BundleFormatError, match="expected JSON"):
        Part.load(part.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "dvse-bundle"}, "'dvse-part'"),
        ({"format_version": 2}, "expected format version 1, received 2"),
        ({"modality": "video"}, "received 'video'"),
        ({"spec": ...}, "fields"),
        ({"surprise": 1}, "fields"),
        ({"spec": []}, "fields"),
    ],
)
def test_other_documents(part, edit_json, changes, message):
    edit_json(part.folder / "part.json", **changes)
    with pytest.raises(BundleFormatError, match=message):
        Part.load(part.folder)


def test_a_list_is_no_part(part):
    (part.folder / "part.json").write_text("[]")
    with pytest.raises(BundleFormatError, match="'dvse-part'"):
        Part.load(part.folder)


def test_another_modality_than_asked_for(part):
    with pytest.raises(BundleFormatError, match="a part for audio, received 'image'"):
        Part.load(part.folder, modality="audio")
