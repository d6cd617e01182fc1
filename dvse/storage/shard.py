"""The token shard: a Parquet file, one row an input, that any tool can open.

    id, modality       name of the input, unique in a job; text | image | audio | mixed
    ids                list of uint16 or uint32, whichever holds the vocabulary
    grid_h, grid_w     rows and columns of codes, in a row that is one picture
    num_levels         residual levels
    duration_s, frame_rate_hz, durations    of recordings; durations where units were merged
    text               caption or label that stood beside the media
    loss_mask          in conversations: true where a decoder should learn to produce the id
    source, sha256     where the input lay, and the hash of its bytes

The file's metadata holds the bundle's and the vocabulary's fingerprint, the numerics profile and
the length of every row. The bytes depend on the rows and the metadata alone: every writer setting
is pinned. Knows no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dvse.encoding import Encoding
from dvse.errors import DvseError, IdRangeError, ShardError
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.arrow_arrays import array_of
from dvse.storage.atomic_file import write_atomically
from dvse.storage.parquet_bytes import parquet_bytes

if TYPE_CHECKING:
    from dvse.tokenizer import Tokenizer

FORMAT_VERSION = "1"
PATTERN = "shard-*.parquet"
DONE_FOLDER = ".job/done"
SHARDS_A_FOLDER = 1000
"""So many lie in the directory of a job itself; each thousand behind them has a folder."""
NUMBERED_FOLDERS = "[0-9][0-9][0-9]*"

_PREFIX = "dvse."
_TIGHT = (",", ":")
_ROWS_PER_GROUP = 8192
# One request for all of a small object is quicker than several for the columns that are wanted.
_READ_WHOLE = 32 << 20


@dataclass(frozen=True, kw_only=True)
class ShardMetadata:
    """What a shard says of itself.

    Attributes:
        bundle: name of the bundle.
        bundle_fingerprint, vocabulary_fingerprint: SHA-256 (hex).
        vocabulary_size: padded size; every id is below it.
        profile: the numerics profile as JSON.
        lengths: `int64 [rows]`, ids in each row; filled in by `write_shard`.
    """

    bundle: str
    bundle_fingerprint: str
    vocabulary_fingerprint: str
    vocabulary_size: int
    profile: Mapping[str, Any]
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def id_dtype(self) -> np.dtype:
        """Dtype of the ids: uint16 where it holds the vocabulary, else uint32."""
        return np.dtype("uint16" if self.vocabulary_size <= 1 << 16 else "uint32")

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "ShardMetadata":
        """Return what shards say that `tokenizer` makes."""
        return cls(
            bundle=tokenizer.name,
            bundle_fingerprint=tokenizer.fingerprint,
            vocabulary_fingerprint=tokenizer.vocabulary.fingerprint,
            vocabulary_size=tokenizer.vocabulary.size,
            profile=tokenizer.profile.to_dict(),
        )

    def to_schema_metadata(self) -> dict[str, str]:
        """Return the key-value pairs of the file."""
        return {
            f"{_PREFIX}format_version": FORMAT_VERSION,
            f"{_PREFIX}bundle": self.bundle,
            f"{_PREFIX}bundle_fingerprint": self.bundle_fingerprint,
            f"{_PREFIX}vocabulary_fingerprint": self.vocabulary_fingerprint,
            f"{_PREFIX}vocabulary_size": str(self.vocabulary_size),
            f"{_PREFIX}profile": json.dumps(dict(self.profile), sort_keys=True),
        }


def shard_name(number: int, sha256: str = "") -> str:
    """Return the file name of a shard; in a store it holds the beginning of its hash.

    >>> shard_name(7), shard_name(7, "0123456789abcdef" * 4)
    ('shard-000007.parquet', 'shard-000007-0123456789abcdef.parquet')
    """
    return f"shard-{number:06d}{f'-{sha256[:16]}' if sha256 else ''}.parquet"


def shard_number(name: str) -> int:
    """Return the number in the file name of a shard, -1 where there is none.

    >>> shard_number("shard-000007.parquet"), shard_number("shard-000007-0123.parquet")
    (7, 7)
    """
    digits = name.removeprefix("shard-").partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdecimal() else -1


def folder_of(number: int) -> str:
    """Return the folder inside a job's directory that a shard lies in, empty for that itself.

    >>> folder_of(999), folder_of(1000)
    ('', '001')
    """
    thousand = number // SHARDS_A_FOLDER
    return f"{thousand:03d}" if thousand > 0 else ""


def beside_shard(number: int, name: str) -> str:
    """Return where a file that belongs to a shard lies, below a folder that holds many such files.

    >>> beside_shard(999, "a"), beside_shard(1000, "a")
    ('a', '001/a')
    """
    folder = folder_of(number)
    return f"{folder}/{name}" if folder else name


def shard_schema(id_dtype: np.dtype | str) -> pa.Schema:
    """Return the columns of a token shard.

    >>> shard_schema("uint16").field("ids").type
    ListType(list<element: uint16 not null>)
    """
    id_type = pa.from_numpy_dtype(np.dtype(id_dtype))
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("modality", pa.string(), nullable=False),
            pa.field("ids", _list_of(id_type), nullable=False),
            pa.field("grid_h", pa.int32()),
            pa.field("grid_w", pa.int32()),
            pa.field("num_levels", pa.int32(), nullable=False),
            pa.field("duration_s", pa.float64()),
            pa.field("frame_rate_hz", pa.float64()),
            pa.field("durations", _list_of(pa.int32())),
            pa.field("text", pa.string()),
            pa.field("loss_mask", _list_of(pa.bool_())),
            pa.field("source", pa.string()),
            pa.field("sha256", pa.string()),
        ]
    )


def encoding_row(
    encoding: Encoding,
    *,
    id: str,
    source: str | None = None,
    sha256: str | None = None,
    text: str | None = None,
    loss_mask: np.ndarray | None = None,
    id_dtype: np.dtype | str = "uint32",
) -> dict[str, Any]:
    """Return the row of one input.

    Raises:
        IdRangeError: an id that `id_dtype` cannot hold (it would wrap around silently).
    """
    dtype = np.dtype(id_dtype)
    limit = int(np.iinfo(dtype).max)
    if len(encoding) and not (0 <= int(encoding.ids.min()) and int(encoding.ids.max()) <= limit):
        raise IdRangeError(
            f"expected ids in 0..{limit}, which {dtype} holds, received "
            f"{int(encoding.ids.min())}..{int(encoding.ids.max())}"
        )
    grid_h, grid_w = encoding.grid or (None, None)
    return {
        "id": id,
        "modality": encoding.modality,
        "ids": encoding.ids.astype(dtype),
        "grid_h": grid_h,
        "grid_w": grid_w,
        "num_levels": encoding.num_levels,
        "duration_s": encoding.duration_s,
        "frame_rate_hz": encoding.frame_rate_hz,
        "durations": encoding.durations,
        "text": text,
        "loss_mask": loss_mask,
        "source": source,
        "sha256": sha256,
    }


def write_shard(
    path: Location,
    rows: Sequence[Mapping[str, Any]],
    *,
    schema: pa.Schema,
    metadata: Mapping[str, str],
) -> str:
    """Write rows in one atomic step and return the SHA-256 (hex) of the file.

    Args:
        path: where; replaced if it is there.
        rows, schema, metadata: as for `encode_shard`.

    Raises:
        OSError: the disk is full or the directory cannot be written; nothing is left behind.
        ShardError: more than 2³¹ ids.
    """
    data = encode_shard(rows, schema=schema, metadata=metadata)
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def encode_shard(
    rows: Sequence[Mapping[str, Any]], *, schema: pa.Schema, metadata: Mapping[str, str]
) -> memoryview:
    """Return the bytes of a shard.

    Args:
        rows: one mapping a row, with a value for each column of `schema`.
        schema: the columns (`shard_schema` for tokens; other jobs bring their own).
        metadata: key-value pairs for the file.

    Raises:
        ShardError: more than 2³¹ ids.
    """
    columns = [_column([row[field.name] for row in rows], field) for field in schema]
    pairs = dict(metadata)
    if "ids" in schema.names:
        # With the lengths in the footer a reader can plan an epoch without reading a row.
        pairs[f"{_PREFIX}lengths"] = json.dumps([len(r["ids"]) for r in rows], separators=_TIGHT)
    table = pa.table(columns, schema=schema.with_metadata(pairs))
    return parquet_bytes(table, dictionaries=["modality"], row_group_size=_ROWS_PER_GROUP)


def find_shards(folder: Location) -> list[Location]:
    """Return the shards in a folder, in the order of their partitions.

    In a store a partition may have been uploaded twice, or not finished yet: where a job's journal
    stands beside the shards, those that its done-markers name are meant.

    >>> from pathlib import Path
    >>> find_shards(Path("no such folder"))
    []
    """
    if not isinstance(folder, RemotePath):
        inner = (p for f in folder.glob(NUMBERED_FOLDERS) for p in f.glob(PATTERN))
        # A shard in another folder is another job's; one that is there twice was made again.
        inner = (p for p in inner if p.parent.name == folder_of(shard_number(p.name)))
        by_name = {p.name: p for p in (*folder.glob(PATTERN), *inner)}
        return [by_name[name] for name in sorted(by_name, key=lambda n: (shard_number(n), n))]
    found: list[Location] = list(folder.glob(PATTERN))
    done = {int(path.stem): path for path in (folder / DONE_FOLDER).glob("*.json")}
    if not done:
        return found
    by_number: dict[int, list[Location]] = {}
    for path in found:
        by_number.setdefault(shard_number(path.name), []).append(path)
    shards = []
    for number, marker in sorted(done.items()):
        of_number = by_number.get(number, [])
        if len(of_number) > 1:
            named = json.loads(marker.read_bytes()).get("shard") or shard_name(number)
            of_number = [path for path in of_number if path.name == named]
        shards += of_number
    return shards


def opened(path: Location) -> Any:
    """Return what pyarrow can read: a path as it is, an object as a file that is read by ranges."""
    return path.open("rb") if isinstance(path, RemotePath) else path


def read_metadata(path: Location) -> ShardMetadata:
    """Read what a shard says of itself, without its rows.

    Raises:
        ShardError: no Parquet file, or none that DVSE has written.
    """
    try:
        found = pq.read_metadata(opened(path)).metadata or {}
    except DvseError:
        raise  # of a store, which says what is the matter
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: expected a token shard; {_first_line(error)}") from None
    values = {
        key.decode(errors="replace")[len(_PREFIX) :]: value.decode(errors="replace")
        for key, value in found.items()
        if key.startswith(_PREFIX.encode())
    }
    if values.get("format_version") != FORMAT_VERSION:
        raise ShardError(
            f"{path}: expected a token shard of format version {FORMAT_VERSION}, received "
            f"{values.get('format_version')!r}; was it written by dvse tokenize?"
        )
    try:
        return ShardMetadata(
            bundle=values["bundle"],
            bundle_fingerprint=values["bundle_fingerprint"],
            vocabulary_fingerprint=values["vocabulary_fingerprint"],
            vocabulary_size=int(values["vocabulary_size"]),
            profile=json.loads(values["profile"]),
            lengths=np.array(json.loads(values["lengths"]), dtype=np.int64),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ShardError(
            f"{path}: expected a token shard, what it says of itself is corrupt; {error}"
        ) from None


def read_shard(path: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows of a shard.

    Raises:
        ShardError: the file is missing, cut short or corrupt.
    """
    wanted = None if columns is None else list(columns)
    try:
        if isinstance(path, RemotePath) and (wanted is None or path.info().size <= _READ_WHOLE):
            return _table(pa.BufferReader(path.read_bytes()), wanted, path)
        return _table(opened(path), wanted, path)
    except DvseError:
        raise  # of a store, which says what is the matter; or of a column
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: expected a token shard; {_first_line(error)}") from None


def _table(source: Any, columns: list[str] | None, path: Location) -> pa.Table:
    """Read a file; `pq.read_table` goes by way of Arrow's data sets, and so imports pandas."""
    with pq.ParquetFile(source) as file:
        names = file.schema_arrow.names if columns is None else columns
        if missing := sorted(set(names) - set(file.schema_arrow.names)):
            raise ShardError(f"{path}: expected a token shard, it has no column {missing[0]!r}")
        return file.read(columns=names).select(names)


def _list_of(value_type: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("element", value_type, nullable=False))


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if not pa.types.is_list(field.type):
        return array_of(values, field.type)
    # Row by row conversion of numpy arrays is slow; flat values and offsets are one copy.
    lengths = np.fromiter((0 if v is None else len(v) for v in values), np.int64, len(values))
    if lengths.sum() >= 2**31:
        raise ShardError(
            f"a shard holds at most 2147483647 values in {field.name!r}, received {lengths.sum()}; "
            "use a smaller --shard-size"
        )
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    dtype = field.type.value_type.to_pandas_dtype()
    parts = [np.asarray(v, dtype=dtype) for v in values if v is not None]
    flat = np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
    missing = np.fromiter((v is None for v in values), bool, len(values))
    # Not `from_arrays`, whose `mask` loads all of pyarrow.compute.
    is_there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.ListArray.from_buffers(
        field.type,
        len(values),
        [is_there, pa.py_buffer(offsets)],
        children=[array_of(flat, field.type.value_type)],
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
