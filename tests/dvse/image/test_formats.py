"""Every format that Pillow can write is opened or refused by name; loose alpha, large metadata."""

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import PngImagePlugin

from dvse.errors import DecodeError, InputError, TooLargeError
from dvse.image.decode_limits import DecodeLimits
from dvse.image.decoding import decode_picture
from dvse.image.formats import ENDINGS, TABLE
from dvse.image.geometry import SquareGeometry

PLACE = SquareGeometry(size=16, patch_size=4).place
REFUSED = {"EPS", "PDF", "PALM", "SPIDER", "MPO", "IM"}
"""Pages, one that Pillow only writes, one without a signature, frames, one that Pillow drops."""


def picture(mode: str = "RGB") -> PilImage.Image:
    ramp = np.arange(16, dtype=np.uint8)[:, None, None] * np.uint8(15)
    return PilImage.fromarray(np.broadcast_to(ramp, (16, 16, 3)).copy()).convert(mode)


def pixels(data: bytes, name: str | None = None, **limits: int) -> np.ndarray:
    return decode_picture(data, PLACE, DecodeLimits(**limits), name=name)[0]


def saved(format: str) -> bytes:
    for mode in ("RGB", "L", "1"):
        buffer = io.BytesIO()
        try:
            picture(mode).save(buffer, format)
        except (OSError, ValueError, KeyError, RuntimeError):
            continue
        return buffer.getvalue()
    return b""


def writable() -> list[str]:
    PilImage.init()
    return sorted(name for name in PilImage.SAVE if name not in REFUSED and saved(name))


@pytest.mark.parametrize("format", writable())
def test_every_format_that_pillow_writes(format: str) -> None:
    known = next((k for k in TABLE if k.name == format), None)
    assert known is not None, "add it to the table, or say here why it is refused"
    data = saved(format)
    expected = np.asarray(PilImage.open(io.BytesIO(data)).convert("RGB").resize((16, 16)))
    received = pixels(data, name=f"x.{known.endings[0]}")
    assert np.abs(received.astype(int) - expected.astype(int)).max() <= 2


def test_what_the_listing_takes_is_what_the_opener_knows() -> None:
    from pipelines.sources.kinds import IMAGE

    assert IMAGE == ENDINGS
    assert {".tga", ".ico", ".pcx", ".dib", ".psd", ".dds", ".qoi", ".heic", ".jxl"} <= IMAGE


@pytest.mark.parametrize(
    ("package", "format"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL"), ("PIL", "AVIF")]
)
def test_formats_of_extras(package: str, format: str) -> None:
    module = pytest.importorskip(package)
    if format == "HEIF":
        module.register_heif_opener()
    data = saved(format)
    assert np.abs(pixels(data).astype(int) - np.asarray(picture()).astype(int)).max() < 12


def test_without_the_extra_the_message_names_it() -> None:
    code = (
        "import sys; sys.modules['pillow_jxl'] = None\n"
        "from dvse.image.decoding import *\n"
        "from dvse.image.geometry import SquareGeometry\n"
        "place = SquareGeometry(size=16, patch_size=4).place\n"
        "try: decode_picture(b'\\xff\\x0a' + bytes(40), place, DecodeLimits(), name='a.jxl')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("DecodeError a.jxl: a JXL picture;"), done.stderr
    assert "pip install 'dvse[formats]'" in done.stdout


@pytest.mark.parametrize("format", ["BMP", "ICO", "TGA"])
def test_alpha_that_is_0_throughout_means_opaque(format: str) -> None:
    rgba = picture("RGBA")
    rgba.putalpha(0)
    buffer = io.BytesIO()
    rgba.save(buffer, format, **({"bitmap_format": "bmp"} if format == "ICO" else {}))
    received = pixels(buffer.getvalue(), name=f"x.{format.lower()}")
    assert np.abs(received.astype(int) - np.asarray(picture()).astype(int)).max() <= 2


def test_a_transparent_png_stays_white() -> None:
    rgba = picture("RGBA")
    rgba.putalpha(0)
    buffer = io.BytesIO()
    rgba.save(buffer, "PNG")
    assert (pixels(buffer.getvalue()) == 255).all()


@pytest.mark.parametrize("is_zipped", [True, False])
def test_a_png_with_megabytes_of_metadata(is_zipped: bool) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=is_zipped)
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", pnginfo=info)
    limit = PngImagePlugin.MAX_TEXT_CHUNK
    assert (pixels(buffer.getvalue()) == np.asarray(picture())).all()
    assert PngImagePlugin.MAX_TEXT_CHUNK == limit


def test_a_damaged_png_is_called_so() -> None:
    data = saved("PNG")
    for bad in (data[:20], data[:12] + b"XXXX" + data[16:], data[:-30]):
        with pytest.raises(DecodeError, match=r"a\.png: damaged") as caught:
            pixels(bad, name="a.png")
        assert "expected a picture" not in str(caught.value)
    with pytest.raises(DecodeError, match=r"b\.png: expected a picture"):
        pixels(b"no picture at all, but long enough", name="b.png")


def test_a_jpeg_over_the_limit_is_decoded_smaller() -> None:
    """512 x 512 pixels are decoded at an eighth of the sides; a PNG of that size is refused."""
    large = picture().resize((512, 512))
    files = {}
    for format in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        large.save(buffer, format)
        files[format] = buffer.getvalue()
    assert pixels(files["JPEG"], max_pixels=100_000).shape == (16, 16, 3)
    with pytest.raises(TooLargeError, match="100,000 pixels"):
        pixels(files["PNG"], max_pixels=100_000)
    with pytest.raises(TooLargeError):
        pixels(files["JPEG"], max_pixels=4_000)


def test_bytes_without_a_signature_are_no_tga() -> None:
    data = saved("TGA")
    with pytest.raises(InputError):
        pixels(data)
    assert pixels(data, name="x.tga").shape == (16, 16, 3)


def test_lines_of_libtiff_stand_in_the_message(capfd: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    PilImage.fromarray(noise).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    middle = len(data) // 2
    data[middle : middle + 400] = zlib.compress(noise.tobytes())[:400]
    with pytest.raises(DecodeError):
        pixels(bytes(data))
    assert capfd.readouterr().err == ""
