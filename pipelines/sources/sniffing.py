"""What bytes or a name hold, told from their first bytes: a picture, a recording, or neither."""

import base64
import binascii
import re

from pipelines.sources.kinds import AUDIO, IMAGE, extension

_IMAGE = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+",
    b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51", b"qoif", b"DDS ", b"8BPS", b"\xff\x0a",
    b"\x00\x00\x00\x0cJXL ", b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"P6 ", b"P5 ",
    b"\x00\x00\x01\x00", b"\x0a\x05\x01", b"icns", b"\x01\xda", b"Pf\n", b"PF\n",
)  # fmt: skip
_AUDIO = (
    b"RIFX", b"RF64", b"BW64", b"OggS", b"fLaC", b"ID3", b".snd", b"caff", b"NIST_1A", b"#!AMR",
    b"FORM", b"\x1aE\xdf\xa3", b"0&\xb2u", b"riff.\x91\xcf\x11", b"wvpk", b"TTA1", b"MAC ",
)  # fmt: skip
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1")
_BASE64 = re.compile(r"(?:data:[\w.+-]+/[\w.+-]+;base64,)?([A-Za-z0-9+/_\-\s]+)={0,2}\s*\Z")
_URL_SAFE = str.maketrans("-_", "+/")
_SHORTEST = 40


def kind_of_bytes(data: bytes) -> str | None:
    r"""Return `image`, `audio` or `None`.

    >>> kind_of_bytes(b"\x89PNG\r\n\x1a\n"), kind_of_bytes(b"RIFF....WAVE"), kind_of_bytes(b"hello")
    ('image', 'audio', None)
    """
    start = bytes(data[:16])
    if start[:4] == b"RIFF":
        return {b"WEBP": "image", b"WAVE": "audio"}.get(start[8:12])
    if start[4:8] == b"ftyp":
        return "image" if start[8:12] in _IMAGE_BRANDS else "audio"
    if start.startswith(_IMAGE):
        return "image"
    if start.startswith(_AUDIO):
        return "audio"
    is_mpeg = len(start) > 2 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0
    return "audio" if is_mpeg and start[1] & 0x18 != 0x08 and start[2] & 0xF0 != 0xF0 else None


def kind_of_name(name: str) -> str | None:
    """Return `image` or `audio` for the name of such a file, also behind `http://`.

    >>> kind_of_name("a/b.JPG"), kind_of_name("hello.you")
    ('image', None)
    """
    if len(name) > 4096 or "\n" in name:
        return None
    ending = extension(name.partition("?")[0] if "://" in name else name)
    return "image" if ending in IMAGE else "audio" if ending in AUDIO else None


def kind_by_name(column: str) -> str | None:
    """Return `image` or `audio` where the name of a column says so.

    >>> kind_by_name("jpg"), kind_by_name("speech_wav"), kind_by_name("vector")
    ('image', 'audio', None)
    """
    name = column.lower()
    if any(word in name for word in ("audio", "speech", "sound", "wav", "flac", "mp3", "ogg")):
        return "audio"
    if any(word in name for word in ("image", "img", "picture", "photo", "jpg", "jpeg", "png")):
        return "image"
    return None


def bytes_of_base64(text: str) -> bytes | None:
    """Return what a base64 string or `data:` address holds, where that is media.

    >>> bytes_of_base64("a picture") is None
    True
    """
    if len(text) < _SHORTEST or not (text.startswith("data:") or _is_media(text[:_SHORTEST])):
        return None
    found = _BASE64.match(text)
    if found is None:
        return None
    try:
        return _decoded(found[1])
    except (binascii.Error, ValueError):
        return None


def _is_media(start: str) -> bool:
    try:
        return kind_of_bytes(_decoded(start[:24])) is not None
    except (binascii.Error, ValueError):
        return False


def _decoded(text: str) -> bytes:
    """Both alphabets, with or without the padding at the end."""
    plain = "".join(text.split()).translate(_URL_SAFE)
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
