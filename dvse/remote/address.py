"""Addresses: which strings name something in a store rather than on this machine, and their parts.

    s3://bucket/folder/name    gs://…    hf://datasets/owner/name/…    http(s)://host/…    memory://…

An address is written into journals, shards and messages, so one that carries a secret is refused:
credentials come from the environment, profiles and metadata services alone.
"""

import os
import re
from urllib.parse import parse_qsl, urlsplit

from dvse.errors import ConfigError, InputError

READABLE = ("s3", "gs", "hf", "http", "https", "memory")
WRITABLE = ("s3", "gs", "memory")
STORES = ("s3", "gs", "hf", "memory")

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WEB = ("http", "https")
_SECRETS = re.compile(
    r"x-(amz|goog)-(signature|credential|security-token)|(.*[-_])?sig(nature)?|awsaccesskeyid|"
    r".*token|(.*[-_])?(api|access|secret)?[-_]?key([-_]id)?|.*secret|.*credentials?|jwt|"
    r"(.*[-_])?(pass(word|wd)?|pwd|auth(orization)?)",
    re.IGNORECASE,
)


def is_address(text: str) -> bool:
    """Whether a string is an address rather than a path of this machine.

    >>> is_address("s3://bucket/a"), is_address("a/b"), is_address("hf:user/set")
    (True, False, False)
    """
    return "://" in text and _ADDRESS.match(text) is not None


def check_address(text: str) -> str:
    """Return an address without slashes at its end.

    Raises:
        ConfigError: an unknown scheme, no bucket or host, or a secret in it.

    >>> check_address("s3://bucket/tokens/")
    's3://bucket/tokens'
    """
    found = _ADDRESS.match(text)
    scheme = found[1].lower() if found else ""
    parts = urlsplit(text)
    shown = f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if scheme not in READABLE:
        raise ConfigError(
            f"{shown}: expected a path, or an address that begins with "
            f"{', '.join(f'{s}://' for s in READABLE)}"
        )
    if not parts.netloc.strip("/"):
        raise ConfigError(f"{shown}: expected a bucket or host behind {scheme}://")
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if "@" in parts.netloc or any(_SECRETS.fullmatch(name) for name in named):
        raise ConfigError(
            f"{shown}: expected an address without a secret in it, for addresses are written down "
            "in journals and shards; give credentials by the environment or a profile"
        )
    rest = text[len(scheme) + 3 :]
    return f"{scheme}://{rest if scheme in _WEB else rest.rstrip('/')}"


def scheme_of(address: str) -> str:
    """Return what stands before `://`.

    >>> scheme_of("s3://bucket/a")
    's3'
    """
    return address.partition("://")[0]


def join(folder: str, name: str) -> str:
    """Return the path or address of `name` seen from `folder`; it may be one itself.

    Raises:
        InputError: `..` leads out of the bucket.

    >>> join("s3://b/lists", "../clips/a.wav"), join("/data", "a.wav"), join("/data", "s3://b/a")
    ('s3://b/clips/a.wav', '/data/a.wav', 's3://b/a')
    >>> join("s3://b/x//y", "./a.wav"), join("s3://b", "."), join("s3://b", "a//b")
    ('s3://b/x//y/a.wav', 's3://b', 's3://b/a//b')
    """
    if not is_address(folder):
        return name if is_address(name) else os.path.join(folder, name)  # noqa: PTH118 (by the million)
    if is_address(name) or name.startswith("/"):
        return name
    scheme, _, rest = folder.partition("://")
    bucket, *parts = rest.split("/")
    for part in name.split("/"):
        if part == ".." and not parts:
            raise InputError(f"{name}: leads out of {scheme}://{bucket}")
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)  # an empty one, too: a//b is another key than a/b
    return f"{scheme}://{'/'.join((bucket, *parts))}"


def parent_of(path: str) -> str:
    """Return the folder of a path or address.

    >>> parent_of("s3://b/lists/a.csv"), parent_of("s3://b"), parent_of("https://h/l/a.csv?v=1")
    ('s3://b/lists', 's3://b', 'https://h/l')
    """
    if not is_address(path):
        return os.path.dirname(path)  # noqa: PTH120 (by the million)
    scheme, _, rest = path.partition("://")
    if scheme in _WEB:
        rest = rest.partition("?")[0]
    folder, slash, _ = rest.rpartition("/")
    return f"{scheme}://{folder if slash else rest}"


def name_of(address: str) -> str:
    """Return the last part of an address, or of a path.

    >>> name_of("s3://b/lists/a.csv"), name_of("https://h/a.csv?v=1"), name_of("lists/a.csv")
    ('a.csv', 'a.csv', 'a.csv')
    """
    if address.partition("://")[0] in _WEB:
        address = address.partition("?")[0]
    return address.rpartition("/")[2]


def normalized(path: str) -> str:
    """Return a path without `.` and `..`, an address as it is.

    >>> normalized("a/../b"), normalized("s3://b/a")
    ('b', 's3://b/a')
    """
    return path if is_address(path) else os.path.normpath(path)
