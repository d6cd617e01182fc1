"""The captions of a finished job as one file: `.jsonl` for people and scripts, `.parquet` whole.

Reads shards one at a time and writes under a temporary name, so memory stays small and the file is
there whole or not at all. For a store it is written here first and then uploaded.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dvse.errors import ConfigError
from dvse.remote import object_store
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import sync_directory, temporary_name
from dvse.storage.shard import find_shards, opened, read_shard

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".jsonl", ".parquet")


def check_ending(path: Location) -> Location:
    """Return `path` if captions can be written there.

    Raises:
        ConfigError: another ending, or a directory.
    """
    if path.suffix not in ENDINGS or path.is_dir():
        raise ConfigError(f"--output {path}: expected a file that ends in .jsonl or .parquet")
    return path


def job_directory(path: Location) -> Location:
    """Return where the job behind a caption file keeps its shards, errors and journal.

    >>> job_directory(Path("out/captions.jsonl")).as_posix()
    'out/captions.jsonl.job'
    """
    return path.with_name(f"{path.name}.job")


def write_captions(job: Location, path: Location) -> None:
    """Write the rows of all shards of a job, in input order, to `path`.

    JSON lines leave out `ids`, which Parquet has.

    Raises:
        ShardError: a shard is corrupt.
        OSError: the file cannot be written; an older one stays.
    """
    if isinstance(path, RemotePath):
        with TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            write_captions(job, file)
            object_store.upload(str(file), path.address)
        return
    shards = find_shards(job)
    temporary = temporary_name(path)
    try:
        if path.suffix == ".jsonl":
            _write_lines(shards, temporary)
        else:
            _write_parquet(shards, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def _write_lines(shards: list[Location], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for shard in shards:
            table = read_shard(shard).drop_columns(["ids"])
            for row in table.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _write_parquet(shards: list[Location], path: Path) -> None:
    import pyarrow.parquet as pq

    from pipelines.steps.caption import caption_schema

    schema = _schema_of(shards) or caption_schema()
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for shard in shards:
                writer.write_table(read_shard(shard).replace_schema_metadata(schema.metadata))
        file.flush()
        os.fsync(file.fileno())


def _schema_of(shards: list[Location]) -> "pa.Schema | None":
    """The first shard's columns and settings, without what is true of that shard alone."""
    import pyarrow.parquet as pq

    if not shards:
        return None
    schema = pq.read_schema(opened(shards[0]))
    kept = {k: v for k, v in (schema.metadata or {}).items() if k == b"dvse.captions"}
    return schema.with_metadata(kept)
