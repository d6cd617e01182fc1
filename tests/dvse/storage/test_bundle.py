"""The bundle on disk: whole or refused, found by name, path and Hub id, never executed."""

import io
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.numpy import save

from dvse.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
    UnsafeFileError,
    VocabularyError,
)
from dvse.storage import bundle as bundle_module
from dvse.storage import finding
from dvse.storage.bundle import Bundle, Section, install_bundle, write_bundle
from dvse.storage.finding import find_bundle
from dvse.tokenizer import load


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_what_is_written_is_read(text_bundle):
    bundle = Bundle.open(text_bundle)
    assert bundle.name == "words"
    assert bundle.card == "For tests."
    assert bundle.sections["text"].metrics == {"bytes_per_token": 2.5}
    assert bundle.vocabulary.text_size == 340
    document = json.loads((text_bundle / "dvse.json").read_text())
    assert document["fingerprint"] == bundle.fingerprint
    assert set(document["files"]) == {"text/spiece.model", "vocabulary.json"}
    assert document["files"]["text/spiece.model"]["size"] == (
        (text_bundle / "text" / "spiece.model").stat().st_size
    )


def test_the_fingerprint_is_about_tokens_only(text_bundle):
    before = Bundle.open(text_bundle)

    def again(**changes) -> str:
        fields = {
            "name": before.name,
            "vocabulary": before.vocabulary,
            "sections": before.sections,
            "card": before.card,
        }
        return write_bundle(text_bundle, **(fields | changes)).fingerprint

    assert again(name="other", card="Another card.") == before.fingerprint
    assert again(sections={"text": Section(spec={"type": "sentencepiece"})}) == before.fingerprint
    assert again(sections={"text": Section(spec={"type": "x"})}) != before.fingerprint
    grown = before.vocabulary.grow("image", num_codes=3)
    assert again(vocabulary=grown) != before.fingerprint
    (text_bundle / "text" / "more.json").write_text("{}")
    assert again() != before.fingerprint


def test_a_changed_file_is_refused(text_bundle):
    path = text_bundle / "text" / "spiece.model"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=r"spiece\.model: expected SHA-256 .*fetch"):
        load(text_bundle)


@pytest.mark.parametrize("name", ["text/spiece.model", "vocabulary.json"])
def test_a_missing_or_shortened_file_is_refused(text_bundle, name):
    path = text_bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleIntegrityError, match="SHA-256"):
        load(text_bundle)
    path.unlink()
    with pytest.raises(BundleIntegrityError, match="missing"):
        load(text_bundle)


def test_a_file_that_nobody_vouches_for_is_refused(text_bundle):
    (text_bundle / "text" / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleIntegrityError, match=r"does not list \['text/tokenizer\.json'\]"):
        load(text_bundle)


def test_files_that_decide_no_token_may_lie_around(text_bundle):
    (text_bundle / "README.md").write_text("# Words\n")
    (text_bundle / "text" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (text_bundle / "model.safetensors").write_bytes(save({"w": np.zeros(3, np.float32)}))
    assert load(text_bundle).name == "words"


def test_an_edited_document_is_refused(text_bundle, edit_json):
    document = json.loads((text_bundle / "dvse.json").read_text())
    edit_json(
        text_bundle / "dvse.json", files={k: v for k, v in document["files"].items() if "v" in k}
    )
    with pytest.raises(BundleIntegrityError, match=r"text/spiece\.model"):
        load(text_bundle)
    edit_json(text_bundle / "dvse.json", files=document["files"], fingerprint="0" * 64)
    with pytest.raises(BundleIntegrityError, match=r"edited after it was written"):
        load(text_bundle)


SECTION = {"spec": {"type": "sentencepiece"}, "metrics": {}, "provenance": {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, "expected a dvse.json of format 'dvse-bundle', received 'zip'"),
        ({"format": ...}, "received None"),
        ({"format_version": 2}, "expected format version 1, received 2; install"),
        ({"format_version": "1"}, "received '1'"),
        ({"format_version": ...}, "received None"),
        ({"surprise": 1}, r"unknown fields \['surprise'\] and lacks \[\]"),
        ({"video": SECTION}, r"unknown fields \['video'\]"),
        ({"fingerprint": ...}, r"lacks \['fingerprint'\]"),
        ({"text": ...}, r"lacks \['text'\]"),
        ({"name": 5}, "'name' of dvse.json to be a str, received 5"),
        ({"files": []}, "'files' of dvse.json to be a dict"),
        ({"text": 5}, "section 'text'"),
        ({"text": SECTION | {"x": 1}}, "section 'text'"),
        ({"text": SECTION | {"spec": 5}}, "section 'text'"),
        ({"files": {"vocabulary.json": "abc"}}, "sha256 and size of 'vocabulary.json'"),
        ({"files": {"vocabulary.json": {}}}, "sha256 and size"),
    ],
)
def test_other_documents_are_refused(text_bundle, edit_json, changes, message):
    edit_json(text_bundle / "dvse.json", **changes)
    with pytest.raises(BundleFormatError, match=message):
        load(text_bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"3"])
def test_a_document_that_is_no_json_object_is_refused(text_bundle, content):
    (text_bundle / "dvse.json").write_bytes(content)
    with pytest.raises(BundleFormatError, match=r"dvse\.json: expected"):
        load(text_bundle)


def test_a_wrong_vocabulary_is_refused(text_bundle, edit_json):
    """Hashes that fit do not make a wrong content right."""
    edit_json(text_bundle / "vocabulary.json", size=1)
    document = json.loads((text_bundle / "dvse.json").read_text())
    content = (text_bundle / "vocabulary.json").read_bytes()
    document["files"]["vocabulary.json"]["sha256"] = bundle_module.hashlib.sha256(
        content
    ).hexdigest()
    edit_json(text_bundle / "dvse.json", files=document["files"])
    with pytest.raises(VocabularyError, match="size"):
        load(text_bundle)


def test_a_vocabulary_of_another_codebook_is_refused(text_bundle):
    bundle = Bundle.open(text_bundle)
    write_bundle(
        text_bundle,
        name="words",
        vocabulary=bundle.vocabulary.grow("image", num_codes=3),
        sections=bundle.sections,
    )
    with pytest.raises(BundleFormatError, match="image: the vocabulary has 1 levels of 3 codes"):
        load(text_bundle)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/hostname", "text/../../outside.json", "text\\..\\x"]
)
def test_names_that_lead_outside_are_refused(text_bundle, edit_json, name):
    (text_bundle.parent / "outside.json").write_text("{}")
    document = json.loads((text_bundle / "dvse.json").read_text())
    document["files"][name] = {"sha256": "0" * 64, "size": 2}
    edit_json(text_bundle / "dvse.json", files=document["files"])
    with pytest.raises(BundleFormatError, match="expected files inside the bundle"):
        load(text_bundle)


def torch_archive() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def legacy_torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


PICKLES = {
    **{f"protocol {n}": pickle.dumps(Bomb(), protocol=n) for n in range(6)},
    "plain data": pickle.dumps({"a": 1}),
    "plain data, protocol 0": pickle.dumps({"a": 1}, protocol=0),
    "cut short after the call": pickle.dumps(Bomb())[:-1],
    "with data behind it": pickle.dumps(Bomb()) + b"more",
    "torch archive": torch_archive(),
    "legacy torch file": legacy_torch_file(),
}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("name", ["text/weights.safetensors", "notes.json", "text/x"])
def test_pickles_are_refused_by_content(text_bundle, monkeypatch, tmp_path, content, name):
    monkeypatch.chdir(tmp_path)
    (text_bundle / name).write_bytes(content)
    with pytest.raises(UnsafeFileError, match="could run any code; convert it to safetensors"):
        load(text_bundle)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("suffix", [".pt", ".PTH", ".bin", ".pkl", ".ckpt", ".joblib", ".pickle"])
def test_pickles_are_refused_by_name(text_bundle, suffix):
    (text_bundle / f"weights{suffix}").write_bytes(b"")
    with pytest.raises(UnsafeFileError):
        load(text_bundle)


def test_a_bundle_with_a_pickle_is_not_written(text_bundle):
    bundle = Bundle.open(text_bundle)
    (text_bundle / "text" / "weights.pt").write_bytes(torch_archive())
    with pytest.raises(UnsafeFileError):
        write_bundle(text_bundle, name="x", vocabulary=bundle.vocabulary, sections=bundle.sections)


def test_a_safetensors_file_is_never_taken_for_a_pickle(text_bundle):
    """Its first eight bytes are a length; 0x480 looks like the mark of a protocol-4 pickle."""
    for length in (0x80, 0x180, 0x280, 0x380, 0x480, 0x580, 0x5D0480):
        header = b'{"__metadata__":{"pad":"'
        header += b"x" * (length - len(header) - 3) + b'"}}'
        (text_bundle / "weights.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        assert Bundle.open(text_bundle).name == "words", hex(length)


def test_ordinary_files_are_no_pickles(text_bundle):
    with zipfile.ZipFile(text_bundle / "pictures.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    (text_bundle / "NOTES").write_text("card of a cat.\nmore lines.\n")
    (text_bundle / "dot").write_text(".")
    (text_bundle / "empty").write_bytes(b"")
    assert Bundle.open(text_bundle).name == "words"


# --- finding ---------------------------------------------------------------------------------


def test_found_by_path_as_string_and_inside_a_model_directory(text_bundle, tmp_path):
    assert find_bundle(text_bundle) == find_bundle(str(text_bundle)) == text_bundle
    model = tmp_path / "model"
    shutil.copytree(text_bundle, model / "bundle")
    (model / "pytorch_model.bin").write_bytes(b"")
    assert find_bundle(model) == model / "bundle"
    assert load(model).name == "words"


def test_found_by_shipped_name(text_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "SHIPPED", text_bundle.parent)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find_bundle("words") == text_bundle
    # A folder of the same name that is no bundle does not hide it; one that is does.
    Path("words").mkdir()
    assert find_bundle("words") == text_bundle
    shutil.copytree(text_bundle, "words", dirs_exist_ok=True)
    assert find_bundle("words") == Path("words")


@pytest.mark.parametrize(
    "name", ["nothing", "./a/b", "/no/such", "~/x", "a/b/c", "", "..", "tiny.zip"]
)
def test_not_found_says_what_was_expected(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError, match="expected a shipped name") as caught:
        load(name)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_without_a_bundle_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("owner/name").mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(BundleNotFoundError):
        find_bundle("owner/name")


@pytest.mark.parametrize("inside", ["", "bundle"])
def test_fetched_by_hub_id(text_bundle, tmp_path, monkeypatch, inside):
    repository = tmp_path / "snapshot"
    shutil.copytree(text_bundle, repository / inside)
    asked = []

    def snapshot_download(repo_id, **options):
        asked.append((repo_id, options))
        return str(repository)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    tokenizer = load("owner/words", revision="v1", token="secret")
    assert tokenizer.name == "words"
    ((repo_id, options),) = asked
    assert repo_id == "owner/words"
    assert (options["revision"], options["token"]) == ("v1", "secret")
    allowed = options["allow_patterns"]

    def is_fetched(path: str) -> bool:
        return bool(list(huggingface_hub.utils.filter_repo_objects([path], allow_patterns=allowed)))

    files = [p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()]
    assert all(is_fetched(name) for name in files)
    assert is_fetched("image/encoder.safetensors")
    assert not is_fetched("model-00001-of-00004.safetensors")
    assert not is_fetched("pytorch_model.bin")


def test_a_hub_repository_without_a_bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(BundleNotFoundError, match=r"fetched, but there is no dvse\.json"):
        load("owner/words")


@pytest.mark.parametrize("error", [OSError("offline"), ValueError("bad id"), KeyError("x")])
def test_a_hub_that_does_not_answer(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(BundleNotFoundError, match=f"did not give it .{type(error).__name__}."):
        load("owner/words")


def test_a_pickle_in_a_hub_repository_is_refused(text_bundle, monkeypatch):
    (text_bundle / "image").mkdir()
    (text_bundle / "image" / "weights.bin").write_bytes(pickle.dumps({}))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(text_bundle))
    with pytest.raises(UnsafeFileError):
        load("owner/words")


# --- installing ------------------------------------------------------------------------------


def test_installing_replaces_a_bundle_and_leaves_nothing_of_it(text_bundle, tmp_path):
    target = tmp_path / "target"
    shutil.copytree(text_bundle, target)
    (target / "image").mkdir()
    (target / "image" / "old.json").write_text("{}")
    (target / "README.md").write_text("stays")
    assert install_bundle(text_bundle, target) == target
    assert Bundle.open(target).name == "words"
    assert not (target / "image").exists()
    assert (target / "README.md").read_text() == "stays"


def test_installing_over_something_else_is_refused(text_bundle, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="new or empty directory"):
        install_bundle(text_bundle, tmp_path / "home")
    with pytest.raises(ConfigError, match="expected a directory, received a file"):
        install_bundle(text_bundle, tmp_path / "file")
    assert Bundle.open(text_bundle)


def test_every_refusal_is_a_bundle_error():
    for error in (BundleFormatError, BundleIntegrityError, BundleNotFoundError, UnsafeFileError):
        assert issubclass(error, BundleError)
        assert issubclass(error, ValueError)
