"""Exports: same bytes whatever the workers and after any kill, provenance, proof, refusals."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from token_folder import write_folder

from dvse.errors import ConfigError, IdRangeError, ResumeError, ShardError, StorageError
from dvse.storage.shard import shard_name
from pipelines.cli import main
from pipelines.export.export import export
from pipelines.export.formats import FORMATS, find_format
from pipelines.export.output_file import OutputFile
from pipelines.export.settings import ExportSettings
from pipelines.export.verification import verify_export

SPLITS = {"train": 0.8, "valid": 0.2}
SMALL = 1200  # bytes of ids a piece: half a dozen pieces


def settings(tokens: Path, output: Path, **changes) -> ExportSettings:
    return ExportSettings(
        tokens=tokens, output=output, **({"splits": SPLITS, "piece_bytes": SMALL} | changes)
    )


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file outside the journal."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".export" not in path.parts
    }


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    write_folder(folder)
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_back_is_what_went_in(name, tokens, tmp_path):
    rows = write_folder(tmp_path / "t")
    done = export(find_format(name), settings(tmp_path / "t", tmp_path / "o", splits={"all": 1.0}))
    assert done.num_new == done.num_pieces > 4
    assert done.num_empty == 3
    found = list(find_format(name).read(tmp_path / "o", "all"))
    assert len(found) == len(rows) == done.num_sequences["all"]
    for row, read in zip(rows, found, strict=True):
        assert read.ids.tolist() == row["ids"].tolist()
        assert read.modality in (None, row["modality"])
        expected = np.ones(len(row["ids"]), bool) if row["loss_mask"] is None else row["loss_mask"]
        mask = np.ones(len(row["ids"]), bool) if read.mask is None else read.mask
        assert mask.tolist() == expected.tolist()
    assert not verify_export(tmp_path / "o", tmp_path / "t").problems


@pytest.mark.parametrize("name", FORMATS)
def test_same_bytes_whatever_the_workers_and_after_a_stop_at_every_piece(name, tokens, tmp_path):
    kind = find_format(name)
    whole = tmp_path / "whole"
    export(kind, settings(tokens, whole))
    expected = contents(whole)
    again = export(kind, settings(tokens, whole))
    assert again.num_new == 0
    assert contents(whole) == expected
    if name == "megatron":  # spawning takes its time: the machinery is the same for all
        export(kind, settings(tokens, tmp_path / "three"), num_workers=3)
        assert contents(tmp_path / "three") == expected

    stopped = tmp_path / "stopped"
    done = 0

    def stop(*_) -> None:
        raise KeyboardInterrupt

    while True:
        try:
            done += export(kind, settings(tokens, stopped), progress=stop).num_new
            break
        except KeyboardInterrupt:
            done += 1
            (stopped / ".tmp-left").write_bytes(b"half a file of a killed writer")
    assert done == again.num_pieces
    assert contents(stopped) == expected


def test_a_killed_export_goes_on_to_the_same_bytes(tokens, tmp_path):
    export(find_format("webdataset"), settings(tokens, tmp_path / "whole"))
    command = [sys.executable, "-m", "pipelines.cli", "export", "webdataset", str(tokens)]
    command += [str(tmp_path / "o"), "--split", "train:0.8", "valid:0.2"]
    command += ["--piece-mb", str(SMALL / 2**20), "--workers", "2"]
    process = subprocess.Popen(command, start_new_session=True)
    done = tmp_path / "o" / ".export" / "done"
    deadline = time.monotonic() + 60
    while not (done.exists() and len(list(done.iterdir())) >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert main(command[3:-2]) == 0
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")


def test_a_piece_whose_files_are_gone_is_made_again(tokens, tmp_path):
    for name, lost in (("mds", "train/shard.000001.mds"), ("megatron", "train.bin")):
        folder = tmp_path / name
        export(find_format(name), settings(tokens, folder))
        expected = contents(folder)
        (folder / lost).unlink()
        assert export(find_format(name), settings(tokens, folder)).num_new >= 1
        assert contents(folder) == expected


def test_provenance_names_the_input_of_every_sequence(tokens, tmp_path):
    rows = write_folder(tmp_path / "t")
    export(find_format("megatron"), settings(tmp_path / "t", tmp_path / "o"))
    table = pq.read_table(tmp_path / "o" / "provenance").to_pylist()
    by_id = {row["id"]: row for row in rows}
    assert sorted(line["id"] for line in table) == sorted(by_id)
    for split in SPLITS:
        read = list(find_format("megatron").read(tmp_path / "o", split))
        mine = [line for line in table if line["split"] == split]
        assert [line["sequence"] for line in mine] == list(range(len(read)))
        for line, sequence in zip(mine, read, strict=True):
            row = by_id[line["id"]]
            assert sequence.ids.tolist() == row["ids"].tolist()
            assert (line["sha256"], line["source"]) == (row["sha256"], row["source"])
            assert line["num_ids"] == len(sequence.ids)


def test_equal_inputs_are_on_one_side_and_stay_there_as_the_set_grows(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    write_folder(small, num_shards=2)
    write_folder(large, num_shards=4)
    sides = []
    for folder in (small, large):
        out = tmp_path / f"{folder.name}-out"
        export(find_format("nanotron"), settings(folder, out))
        table = pq.read_table(out / "provenance").to_pylist()
        sides.append({line["id"]: line["split"] for line in table})
    assert sides[0].items() <= sides[1].items()
    share = list(sides[1].values()).count("valid") / len(sides[1])
    assert 0.1 < share < 0.3


@pytest.mark.parametrize("name", FORMATS)
def test_an_end_stands_behind_every_document_and_carries_loss(name, tokens, tmp_path):
    export(find_format(name), settings(tokens, tmp_path / "o", end_id=8000))
    for sequence in find_format(name).read(tmp_path / "o", "train"):
        assert sequence.ids[-1] == 8000
        assert sequence.mask is None or sequence.mask[-1]
    assert not verify_export(tmp_path / "o", tokens).problems


@pytest.mark.parametrize("name", FORMATS)
def test_verify_finds_a_byte_that_was_changed(name, tokens, tmp_path):
    export(find_format(name), settings(tokens, tmp_path / "o"))
    path = max(
        (p for p in (tmp_path / "o").rglob("*train*/*") if p.is_file()),
        default=tmp_path / "o" / "train.bin",
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = verify_export(tmp_path / "o", tokens).problems
    assert path.name in problem


def test_verify_reads_ids_and_does_not_trust_hashes_alone(tokens, tmp_path):
    other = tmp_path / "other"
    write_folder(other)
    table = pq.read_table(other / shard_name(1))
    rows = table.to_pylist()
    rows[7]["ids"] = [*rows[7]["ids"][:-1], 1]
    from dvse.storage.shard import read_metadata, write_shard

    metadata = read_metadata(other / shard_name(1)).to_schema_metadata()
    write_shard(other / shard_name(1), rows, schema=table.schema, metadata=metadata)
    export(find_format("megatron"), settings(tokens, tmp_path / "o"))
    (problem,) = verify_export(tmp_path / "o", other).problems
    assert rows[7]["id"] in problem
    assert "1 ids differ" in problem


def test_refusals_are_one_sentence(tokens, tmp_path, monkeypatch):
    mds = find_format("mds")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"files that no export has written"):
        export(mds, settings(tokens, foreign))
    assert [p.name for p in foreign.iterdir()] == ["thesis.tex"]

    export(mds, settings(tokens, tmp_path / "o"))
    with pytest.raises(ResumeError, match=r"format 'mds' then, 'litdata' now"):
        export(find_format("litdata"), settings(tokens, tmp_path / "o"))
    with pytest.raises(ResumeError, match=r"seed 0 then, 1 now"):
        export(mds, settings(tokens, tmp_path / "o", seed=1))
    export(find_format("litdata"), settings(tokens, tmp_path / "o"), overwrite=True)
    assert not list((tmp_path / "o").rglob("*.mds"))

    with pytest.raises(ShardError, match=r"found none"):
        export(mds, settings(tmp_path, tmp_path / "x"))
    with pytest.raises(IdRangeError, match=r"0\.\.9599"):
        export(mds, settings(tokens, tmp_path / "x", end_id=9600))
    with pytest.raises(ConfigError, match=r"no document with ids is left for the split 'valid'"):
        export(mds, settings(tokens, tmp_path / "x", splits={"train": 1 - 1e-9, "valid": 1e-9}))
    for splits in ({"train": 0.5}, {"a/b": 1.0}, {}):
        with pytest.raises(ConfigError, match=r"--split"):
            settings(tokens, tmp_path / "x", splits=splits)
    with pytest.raises(ConfigError, match=r"fits into int32"):
        find_format("megatron").id_dtype(2**31)
    monkeypatch.setattr(type(mds), "longest", 20)
    with pytest.raises(ConfigError, match=r"mds: expected documents of at most 20 ids"):
        export(mds, settings(tokens, tmp_path / "x"))


def test_a_full_disk_leaves_what_is_finished(tokens, tmp_path, monkeypatch):
    kind = find_format("webdataset")
    write = OutputFile.write
    monkeypatch.setattr(OutputFile, "write", lambda self, data: _full(self, data, write))
    with pytest.raises(StorageError, match=r"what is finished stays"):
        export(kind, settings(tokens, tmp_path / "o"))
    assert not list((tmp_path / "o").rglob(".tmp-*"))
    monkeypatch.undo()
    export(kind, settings(tokens, tmp_path / "o"))
    assert not verify_export(tmp_path / "o", tokens).problems


def _full(file: OutputFile, data: bytes, write):
    if "000003" in file.part.name:
        raise OSError(28, "No space left on device")
    return write(file, data)


def test_a_document_larger_than_a_piece_stands_alone_and_order_is_kept(tokens, tmp_path):
    rows = write_folder(tmp_path / "t", num_shards=2)
    done = export(
        find_format("nanotron"),
        settings(tmp_path / "t", tmp_path / "o", splits={"train": 1.0}, piece_bytes=2),
    )
    assert done.num_pieces == len(rows)
    found = [s.ids.tolist() for s in find_format("nanotron").read(tmp_path / "o", "train")]
    assert found == [row["ids"].tolist() for row in rows]


def test_large_vocabularies_become_int32_in_megatron_and_uint32_elsewhere(tmp_path):
    write_folder(tmp_path / "t", size=70_000)
    for name, dtype in (("megatron", "int32"), ("mds", "uint32"), ("nanotron", "uint32")):
        export(find_format(name), settings(tmp_path / "t", tmp_path / name))
        first = next(find_format(name).read(tmp_path / name, "train"))
        assert first.ids.dtype == dtype
        assert not verify_export(tmp_path / name, tmp_path / "t").problems


def test_memory_does_not_grow_with_a_shard(tmp_path):
    """A piece passes through in batches: none holds more than a thousand rows."""
    write_folder(tmp_path / "t", num_shards=1, rows=5000, masks=False)
    kind = find_format("nanotron")
    seen = []

    class Watching(type(kind)):
        def write(self, folder, plan, piece, documents):
            def watch():
                for some in documents:
                    seen.append(len(some.lengths))
                    yield some

            return super().write(folder, plan, piece, watch())

    export(Watching(), settings(tmp_path / "t", tmp_path / "o", piece_bytes=1 << 26))
    assert max(seen) <= 1024
    assert sum(seen) == 4999


def test_few_rows_and_none(tokens, tmp_path):
    """Shards of a job whose inputs all failed, and those of a single, long document."""
    write_folder(tmp_path / "none", num_shards=2, rows=0)
    write_folder(tmp_path / "one", num_shards=1, rows=1)
    for name in FORMATS:
        out = tmp_path / name
        with pytest.raises(ShardError, match=r"none: expected at least one row with ids"):
            export(find_format(name), settings(tmp_path / "none", out))
        assert not out.exists()
        with pytest.raises(ConfigError, match=r"left for the split 'valid'; there are too few"):
            halves = {"train": 0.5, "valid": 0.5}
            export(find_format(name), settings(tmp_path / "one", out, splits=halves))
        assert not out.exists()
        only = settings(tmp_path / "one", out, splits={"train": 1.0}, piece_bytes=1)
        assert export(find_format(name), only).num_sequences == {"train": 1}
        assert not verify_export(out, tmp_path / "one").problems


def test_bad_input_is_one_sentence_on_the_command_line(tokens, tmp_path, capsys, monkeypatch):
    write_folder(tmp_path / "other", num_shards=1, bundle="another")
    write_folder(tmp_path / "large", num_shards=1, size=2**31 + 128)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    out = str(tmp_path / "out")

    def said(*arguments):
        assert main(list(map(str, arguments))) in (1, 2)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    mixed = said("mix", f"{tokens}:1", f"{tmp_path / 'other'}:1")
    assert "was made with the bundle 'another'" in mixed
    assert "tokenise one of them again" in mixed
    for name in FORMATS:
        foreign = said("export", name, tokens, tmp_path / "mine")
        assert f"{tmp_path / 'mine'}: there are files that no export has written" in foreign
    large = said("export", "megatron", tmp_path / "large", out)
    assert "a vocabulary that fits into int32" in large
    assert "2,147,483,776" in large
    monkeypatch.setattr(type(find_format("megatron")), "longest", 20)
    long = said("export", "megatron", tokens, out)
    assert "megatron: expected documents of at most 20 ids, which its index can hold" in long
    assert str(tokens) in long


def test_command_line(tokens, tmp_path, capsys):
    out = str(tmp_path / "o")
    arguments = ["export", "megatron", str(tokens), out, "--split", "train:0.8", "valid:0.2"]
    assert main([*arguments, "--end-id", "5"]) == 0
    assert "documents" in capsys.readouterr().out
    assert main(["verify", out, "--against", str(tokens)]) == 0
    assert "0 problems" in capsys.readouterr().out
    (tmp_path / "o" / "train.idx").write_bytes(b"")
    assert main(["verify", out, "--against", str(tokens)]) == 1
    assert main(["export", "parquet", str(tokens), out]) == 2
    assert "expected a format of megatron" in capsys.readouterr().err
    assert main(["verify", str(tmp_path), "--against", str(tokens)]) == 1
    assert "expected a directory written by dvse export" in capsys.readouterr().err
    assert main([*arguments, "--split", "train"]) == 2
    assert "expected NAME:SHARE" in capsys.readouterr().err
    assert main(["export", "mds", str(tokens), out, "--push-to", "a/b"]) == 2
    assert "datasets" in capsys.readouterr().err
