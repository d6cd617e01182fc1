"""Base64 and `data:` URLs as clients really send them.

Line breaks (MIME), missing padding, the URL-safe alphabet, `;BASE64` and media types in capitals
are all taken: RFC 2045, 2397 and 4648 allow each of them somewhere. What is not base64 is refused.
"""

import binascii
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from dvse.errors import InputError

_BLANK = b" \t\r\n\f\v"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# Characters decoded at once: a call holds Python's lock, and others wait meanwhile.
_BLOCK = 1 << 18


def is_data_url(text: str) -> bool:
    """Return whether a string is a `data:` URL.

    >>> is_data_url("DATA:image/png;base64,AA=="), is_data_url("data.png")
    (True, False)
    """
    return text[:5].lower() == "data:"


def decode_base64(text: str) -> bytes:
    r"""Return the bytes that base64 stands for.

    Raises:
        InputError: characters that base64 does not have, or half a byte at the end.

    >>> decode_base64("AAEC"), decode_base64("AAE\r\nC\n"), decode_base64("_-A")
    (b'\x00\x01\x02', b'\x00\x01\x02', b'\xff\xe0')
    """
    try:
        return b"".join(_decoded_blocks(text))
    except (AttributeError, UnicodeEncodeError, binascii.Error):
        raise InputError(f"expected base64 data, received {_short(text)}") from None


def read_data_url(url: str) -> bytes:
    r"""Return the bytes inside `data:[TYPE][;base64],DATA`.

    Raises:
        InputError: no comma, or data that is not what the head says.

    >>> read_data_url("data:IMAGE/PNG;BASE64,AAEC"), read_data_url("data:,a%20b")
    (b'\x00\x01\x02', b'a b')
    """
    head, comma, data = url.partition(",")
    if not comma or not is_data_url(head):
        raise InputError(f"expected data:TYPE;base64,…, received {_short(url)}")
    if head.rstrip().lower().endswith(";base64"):
        # Only where there is something to unquote: it would cost a copy of many megabytes.
        return decode_base64(unquote_to_bytes(data).decode("latin-1") if "%" in data else data)
    return unquote_to_bytes(data)


def read_data(text: str) -> bytes:
    r"""Return the bytes of base64, bare or inside a `data:` URL.

    Raises:
        InputError: neither.

    >>> read_data("AAEC") == read_data("data:audio/wav;base64,AAEC")
    True
    """
    return (
        read_data_url(text)
        if isinstance(text, str) and is_data_url(text)
        else (decode_base64(text))
    )


def _decoded_blocks(text: str) -> Iterator[bytes]:
    whole, rest = len(text.rstrip("= \t\r\n\f\v")), b""
    if text.find("=", 0, whole) >= 0:
        raise binascii.Error("padding inside the data")
    for start in range(0, whole, _BLOCK):
        block = text[start : min(start + _BLOCK, whole)].encode("ascii")
        block = rest + block.translate(_URL_SAFE, _BLANK)
        size = len(block) - len(block) % 4
        yield binascii.a2b_base64(block[:size], strict_mode=True)
        rest = block[size:]
    yield binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True)


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
