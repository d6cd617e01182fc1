"""What is asked of a store, by address: the one place where fsspec is called.

Each question is asked again while its fault may pass (`patience.py`), and what remains becomes one
sentence. Nothing is buffered or remembered: a listing or a size is as fresh as the answer.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dvse.errors import (
    CredentialsError,
    DvseError,
    InputError,
    MissingExtraError,
    MissingFileError,
    StorageError,
    UnreadableFileError,
)
from dvse.remote.address import is_address, scheme_of
from dvse.remote.patience import PATIENCE, code_of, status_of

T = TypeVar("T")

_CLIENTS = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_CREDENTIALS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in with: gcloud auth application-default "
    "login",
    "hf": "set HF_TOKEN, or log in with: hf auth login",
}
_NO_CREDENTIALS = frozenset(
    ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError",
     "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError",
     "DefaultCredentialsError", "RefreshError", "NoAuthTokenError")
)  # fmt: skip
_REFUSED_CODES = {
    "ExpiredToken": "they have expired",
    "TokenRefreshRequired": "they have expired",
    "RequestExpired": "they have expired",
    "RequestTimeTooSkewed": "the clock of this machine is too far from the store's",
    "InvalidAccessKeyId": "the store does not know them",
    "InvalidToken": "the store does not know them",
    "SignatureDoesNotMatch": "the store does not know them",
}
_USER = re.compile(r"://[^/\s]*@")
_VERSIONS = ("ETag", "etag", "generation", "blob_id", "sha256", "Content-MD5", "Last-Modified",
             "LastModified", "last_modified", "updated", "mtime", "created")  # fmt: skip
_CONNECT_S, _READ_S = 10.0, 60.0
_ONE_PIECE = 5 << 30
"""S3 takes no larger ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a store says of an object or a folder.

    Attributes:
        address: where it lies.
        size: in bytes, 0 for a folder.
        version: its ETag, or else its time of last change: where it is another one, so may be the
            bytes. Empty where the store says neither.
        is_folder: whether it only holds others.
    """

    address: str
    size: int
    version: str = ""
    is_folder: bool = False


def stat(address: str) -> Found:
    """Return what a store says of an object or a folder.

    Raises:
        MissingFileError: neither is there.
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """
    try:
        return _found(ask(address, lambda fs, path: fs.info(path)), address=address)
    except UnreadableFileError:
        # An answer to HEAD has no body that says why; what a read is refused for may be another.
        ask(address, lambda fs, path: fs.cat_file(path, start=0, end=1))
        raise


def children(address: str) -> list[Found]:
    """Return what lies directly in a folder, sorted by name; nothing where there is no such folder.

    Raises:
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """
    return children_and_twins(address)[0]


def children_and_twins(address: str) -> tuple[list[Found], list[Found]]:
    """Return what lies directly in a folder, and what no path can name beside it.

    Keys are any strings: an object may be called as a folder is (which is what the name then
    stands for), and a folder may have an empty name (`a//b`).

    Raises:
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """
    try:
        listed = ask(address, lambda fs, path: fs.ls(path, detail=True))
    except MissingFileError:
        return [], []
    # Gcsfs gives an object that stands for the folder as a folder; that one has a version.
    nameless = [
        one
        for info in listed
        if (one := _found(info, scheme_of(address))).address == address
        and one.is_folder
        and not _version(info)
    ]
    found = _sorted(listed, address)
    folders = {one.address for one in found if one.is_folder}
    objects = (one for info in listed if not (one := _found(info, scheme_of(address))).is_folder)
    return found, [*nameless, *(one for one in objects if one.address in folders)]


def tree(address: str) -> list[Found]:
    """Return all objects below a folder, sorted by their addresses.

    Raises:
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """
    try:
        listed = ask(address, lambda fs, path: list(fs.find(path, detail=True).values()))
    except MissingFileError:
        return []
    return _sorted(listed, address)


def glob(pattern: str) -> list[str]:
    """Return the addresses that match a pattern with `*`, `?`, `[…]` or `**`, sorted."""
    scheme = scheme_of(pattern)
    names = ask(pattern, lambda fs, path: fs.glob(path))
    return sorted(_address(scheme, name) for name in names)


def read(address: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Return the bytes of an object, or the range `start … stop-1` of them.

    Raises:
        MissingFileError: it is not there.
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, the store cannot be reached, or a connection that
            broke off each time.
    """
    if start is not None and stop is not None and start >= stop:
        return b""

    def get(fs: Any, path: str) -> bytes:
        if start is None and stop is None:
            return fs.cat_file(path)
        data = fs.cat_file(path, start=start, end=stop)
        if start is not None and stop is not None and len(data) > stop - start:
            return data[start:stop]  # a web server that knows no ranges gives everything
        return data

    data = ask(address, get)
    return data if isinstance(data, bytes) else bytes(data)


def download(address: str, file: str) -> None:
    """Write an object to a file of this machine; nothing is left of a try that failed.

    Raises:
        MissingFileError: it is not there.
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """

    def get(fs: Any, path: str) -> None:
        if scheme_of(address) == "memory":  # its readers share one handle, and where that stands
            Path(file).write_bytes(fs.cat_file(path))
        else:
            fs.get_file(path, file)

    try:
        ask(address, get)
    except BaseException:
        Path(file).unlink(missing_ok=True)
        raise


def write(address: str, data: bytes | memoryview) -> None:
    """Write an object whole, in place of what was there.

    Raises:
        StorageError: it cannot be written.
    """
    # In one piece: a client that is killed leaves nothing of it, where pieces would lie unseen.
    options = {"chunksize": _ONE_PIECE} if scheme_of(address) == "s3" else {}
    _write(address, lambda fs, path: fs.pipe_file(path, bytes(data), **options))


def upload(file: str, address: str) -> None:
    """Write a file of this machine as an object, whole.

    Raises:
        StorageError: it cannot be written.
    """

    def put(fs: Any, path: str) -> None:
        if scheme_of(address) == "memory":  # readers see what is there in between
            fs.pipe_file(path, Path(file).read_bytes())
        else:
            fs.put_file(file, path)

    _write(address, put)


def create(address: str, data: bytes) -> bool:
    """Write an object unless one is there, by a conditional put; return whether it holds `data`.

    An answer that was lost is no matter: the next try finds its own bytes.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        _write(address, lambda fs, path: fs.pipe_file(path, data, mode="create"))
        return True
    except FileExistsError:
        return read(address) == data


def delete(address: str) -> None:
    """Delete an object; it may be gone already.

    Raises:
        StorageError: it cannot be deleted.
    """
    with contextlib.suppress(MissingFileError):
        _write(address, lambda fs, path: fs.rm_file(path))


def ask(address: str, question: Callable[[Any, str], T]) -> T:
    """Return what a file system of fsspec answers to a question, asked while its fault may pass.

    Args:
        address: what it is about.
        question: called with the file system and the path in it.

    Raises:
        DvseError: what remains of a fault, in one sentence.
        FileExistsError: a conditional put found an object.
    """
    try:
        fs = _file_system(scheme_of(address))
        return PATIENCE.call(lambda: question(fs, fs._strip_protocol(address)))
    except DvseError:
        raise
    except Exception as error:  # each client has its own tree of errors
        if _is_taken(error):
            raise FileExistsError(address) from error
        raise _told(error, address) from error


def _write(address: str, question: Callable[[Any, str], object]) -> None:
    try:
        ask(address, question)
    except (MissingFileError, UnreadableFileError) as error:
        if isinstance(error, MissingFileError):
            raise
        raise StorageError(f"{address}: no permission to write it") from error
    except InputError as error:
        raise StorageError(str(error)) from error


def _file_system(scheme: str) -> Any:
    try:
        import fsspec
        from fsspec.config import conf
    except ImportError:
        raise MissingExtraError.for_extra("fsspec", "remote") from None
    options: dict[str, Any] = {"use_listings_cache": False} if scheme != "memory" else {}
    if scheme == "s3":
        # Tries are counted in one place, ours; what the user has set for fsspec stays.
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        } | conf.get("s3", {}).get("config_kwargs", {})
    try:
        # fsspec keeps one for each process and set of options, and makes it anew after a fork.
        fs = fsspec.filesystem(scheme, **options)
    except ImportError:
        raise MissingExtraError.for_extra(_CLIENTS.get(scheme, scheme), "remote") from None
    if scheme == "s3":
        fs.retries = 1
    return fs


def _is_taken(error: BaseException) -> bool:
    return any(
        isinstance(cause, FileExistsError)
        or code_of(cause) == "PreconditionFailed"
        or status_of(cause) == 412
        for cause in _causes(error)
    )


def _told(error: BaseException, address: str) -> DvseError:
    """One sentence on a fault that does not pass."""
    scheme = scheme_of(address)
    causes = list(_causes(error))
    codes = {code_of(cause) for cause in causes}
    statuses = {status_of(cause) for cause in causes}
    way = _CREDENTIALS.get(scheme, "look at its address")
    if any(type(cause).__name__ in _NO_CREDENTIALS for cause in causes):
        return CredentialsError(f"{address}: no credentials for {scheme}:// were found; {way}")
    if why := next((_REFUSED_CODES[code] for code in codes if code in _REFUSED_CODES), None):
        return CredentialsError(f"{address}: the credentials were refused, {why}; {way}")
    if (scheme == "s3" and "400" in codes) or (scheme == "gs" and 401 in statuses):
        # S3 says no more where it is asked for size and version alone.
        return CredentialsError(
            f"{address}: the request was refused, as it is where credentials have expired; {way}"
        )
    if "NoSuchBucket" in codes or any("bucket does not exist" in str(c) for c in causes):
        bucket = address.partition("://")[2].partition("/")[0]
        return StorageError(
            f"{scheme}://{bucket}: there is no such bucket; make it, or look at its name"
        )
    if isinstance(error, FileNotFoundError) or 404 in statuses:
        return MissingFileError(f"{address}: no such object")
    if isinstance(error, PermissionError) or statuses & {401, 403}:
        return UnreadableFileError(f"{address}: no permission to read it")
    if isinstance(error, IsADirectoryError | NotADirectoryError | ValueError | NotImplementedError):
        return InputError(f"{address}: cannot be used ({_short(error)})")
    return StorageError(
        f"{address}: the store could not be reached or did not answer as it should "
        f"({_short(error)}); run the same command again"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _short(error: BaseException) -> str:
    """The kind of an error and its first line, without what may be secret in addresses.

    >>> _short(OSError("no http://me:word@host/a?sig=1 there"))
    'OSError: no http://host/a there'
    """
    text = str(error).splitlines()[0] if str(error) else ""
    words = [_USER.sub("://", word.partition("?")[0]) for word in text.split()]
    return f"{type(error).__name__}: {' '.join(words)}"[:300].rstrip(": ")


def _sorted(listed: list[dict[str, Any]], folder: str) -> list[Found]:
    found: dict[str, Found] = {}
    for info in listed:
        one = _found(info, scheme_of(folder))
        if one.address != folder and (one.is_folder or one.address not in found):
            found[one.address] = one
    return [found[address] for address in sorted(found)]


def _found(info: dict[str, Any], scheme: str = "", *, address: str | None = None) -> Found:
    is_folder = info.get("type") == "directory"
    return Found(
        address=_address(scheme, info["name"]) if address is None else address,
        size=0 if is_folder else int(info.get("size") or 0),
        version="" if is_folder else _version(info),
        is_folder=is_folder,
    )


def _version(info: dict[str, Any]) -> str:
    return str(next((info[key] for key in _VERSIONS if info.get(key)), "")).strip('"')


def _address(scheme: str, name: str) -> str:
    name = name.rstrip("/")
    return name if is_address(name) else f"{scheme}://{name.lstrip('/')}"
