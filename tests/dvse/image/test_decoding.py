"""Every kind of picture file, made here, decoded to colours known beforehand."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageCms, ImageFile

from dvse.errors import (
    ConfigError,
    DecodeError,
    InputError,
    ItemTypeError,
    MissingFileError,
    TooLargeError,
    UnreadableFileError,
)
from dvse.image.decode_limits import DecodeLimits
from dvse.image.decoding import decode_picture
from dvse.image.geometry import AspectGeometry, Placement, SquareGeometry
from dvse.image.opening import opened
from dvse.image.preparer import ImagePreparer
from dvse.items import Image

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def as_is(width: int, height: int) -> Placement:
    """Keep a picture's own size."""
    return Placement(box=(0, 0, width, height), size=(width, height), grid=(height, width))


def decode(source, limits=None):
    return decode_picture(source, as_is, limits or DecodeLimits())[0]


def file_bytes(picture: PilImage.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def gradient(width=48, height=32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5, y * 7, 255 - x * 5], -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000", "AVIF"])
def test_formats(kind):
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    source = PilImage.new("RGB", (12, 8), RED)
    found = decode(file_bytes(source, kind, **options))
    assert found.shape == (8, 12, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), np.full((8, 12, 3), RED), atol=3)


def test_lossless_formats_are_exact():
    pixels = gradient()
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(
            decode(file_bytes(PilImage.fromarray(pixels), kind)), pixels, err_msg=kind
        )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(orientation, kind):
    """Store a picture so that the tag says how to turn it back; blocks of 16 survive JPEG."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = RED
    upright[:16, 32:] = WHITE
    upright[16:, :16] = (0, 0, 255)
    undo = {  # the stored array whose first row and column lie as EXIF 2.32, table 6 says
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }
    stored = PilImage.fromarray(np.ascontiguousarray(undo[orientation]))
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    found = decode(file_bytes(stored, kind, exif=exif, **options))
    np.testing.assert_allclose(found.astype(int), upright.astype(int), atol=6)


def test_orientation_decides_the_grid_and_reaches_pil_pictures():
    exif = PilImage.Exif()
    exif[0x0112] = 6
    data = file_bytes(PilImage.new("RGB", (64, 32)), "JPEG", exif=exif)
    geometry = AspectGeometry(patch_size=4, max_tokens=256)
    assert decode_picture(data, geometry.place, DecodeLimits())[1].grid == (16, 8)
    with PilImage.open(io.BytesIO(data)) as picture:
        assert decode_picture(picture, geometry.place, DecodeLimits())[1].grid == (16, 8)


def test_damaged_exif_is_ignored():
    data = file_bytes(
        PilImage.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    )
    assert decode(data).shape == (8, 8, 3)


def test_transparent_pixels_show_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = [0, 128, 255]
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"WEBP": {"lossless": True}}.get(kind, {})
        found = decode(file_bytes(PilImage.fromarray(pixels), kind, **options))
        assert found[0, :, 0].tolist() == [255, 127, 0], kind


def test_hidden_colours_do_not_bleed_when_resized():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (*RED, 255)  # the other half: transparent black
    found, _ = decode_picture(
        file_bytes(PilImage.fromarray(pixels), "PNG"),
        SquareGeometry(size=4, patch_size=4).place,
        DecodeLimits(),
    )
    # Premultiplied: the edge goes from red to white and never turns dark.
    assert (found[..., 0] >= 250).all()


def test_grey_with_alpha():
    picture = PilImage.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
    assert decode(file_bytes(picture, "PNG"))[0].tolist() == [[10] * 3, [255] * 3]


@pytest.mark.parametrize("as_table", [False, True])
def test_palette_with_transparency(as_table):
    picture = PilImage.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 0, 0, 0, 255, 0])
    picture.putdata([0, 1, 2])
    transparency = bytes([255, 0, 255]) if as_table else 1
    found = decode(file_bytes(picture, "PNG", transparency=transparency))
    assert found[0].tolist() == [list(RED), list(WHITE), [0, 255, 0]]


def test_transparent_colour_of_rgb_png():
    picture = PilImage.fromarray(np.array([[RED, (1, 2, 3)]], np.uint8))
    found = decode(file_bytes(picture, "PNG", transparency=(1, 2, 3)))
    assert found[0].tolist() == [list(RED), list(WHITE)]


def test_one_bit():
    picture = PilImage.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
    assert decode(file_bytes(picture, "PNG"))[0, :, 0].tolist() == [0, 255, 0]


def test_16_bit_grey_keeps_the_high_byte():
    samples = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        found = decode(file_bytes(PilImage.fromarray(samples), kind))
        assert found[0, :, 0].tolist() == [0, 0, 1, 128, 255], kind


def test_16_bit_rgb_png():
    rows = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 255, 65280)
    found = decode(png(2, 1, depth=16, colour=2, rows=rows))
    assert found[0].tolist() == [[255, 128, 0], [1, 0, 255]]


def test_float_tiff():
    samples = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert decode(file_bytes(PilImage.fromarray(samples), "TIFF"))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]
    for wrong in ([[2.0]], [[np.nan]], [[-0.5]]):
        with pytest.raises(DecodeError, match=r"0\.\.1"):
            decode(file_bytes(PilImage.fromarray(np.array(wrong, np.float32)), "TIFF"))
    with pytest.raises(DecodeError, match="65535"):
        decode(file_bytes(PilImage.fromarray(np.array([[70_000]], np.int32)), "TIFF"))


def test_cmyk_jpeg_with_adobe_marker():
    """Adobe stores CMYK inverted, and says so in an APP14 marker; Pillow writes the same."""
    inks = {(0, 255, 255, 0): RED, (0, 0, 0, 0): WHITE, (0, 0, 0, 255): BLACK}
    for ink, colour in inks.items():
        data = file_bytes(PilImage.new("CMYK", (16, 16), ink), "JPEG", quality=95)
        assert b"Adobe" in data
        np.testing.assert_allclose(decode(data).astype(int), np.full((16, 16, 3), colour), atol=4)


def test_icc_profile_is_applied():
    """A profile whose red and blue are exchanged: what is stored red is shown blue."""
    exchanged = swapped_profile()
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 0] = 255
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"WEBP": {"lossless": True}}.get(kind, {})
        data = file_bytes(PilImage.fromarray(pixels), kind, icc_profile=exchanged, **options)
        assert np.abs(decode(data).astype(int) - [0, 0, 255]).max() <= 3, kind
    rgba = np.dstack([pixels, np.array([[0, 255] * 2] * 4, np.uint8)])
    found = decode(file_bytes(PilImage.fromarray(rgba), "PNG", icc_profile=exchanged))
    assert found[0, 0].tolist() == list(WHITE)
    assert np.abs(found[0, 1].astype(int) - [0, 0, 255]).max() <= 3


def test_srgb_profile_changes_nothing_and_damaged_ones_are_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = gradient()
    for profile in (srgb, b"no profile at all", srgb[:200]):
        data = file_bytes(PilImage.fromarray(pixels), "PNG", icc_profile=profile)
        np.testing.assert_array_equal(decode(data), pixels)


def test_profile_of_another_colour_space_is_ignored():
    grey = PilImage.fromarray(np.full((2, 2), 77, np.uint8))
    data = file_bytes(grey, "PNG", icc_profile=swapped_profile())
    assert (decode(data) == 77).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [PilImage.new("RGB", (8, 8), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    data = file_bytes(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_allclose(decode(data).astype(int), np.full((8, 8, 3), RED), atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_truncated_files(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_bytes(PilImage.fromarray(noise), kind)
    for share in (0.05, 0.3, 0.6, 0.9):
        with pytest.raises(DecodeError) as caught:
            decode(data[: int(len(data) * share)])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_flipped_bytes_never_escape_as_another_error():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000"):
        data = np.frombuffer(file_bytes(PilImage.fromarray(noise), kind), np.uint8)
        for _ in range(60):
            broken = data.copy()
            where = rng.integers(0, min(len(data), 400), 4)
            broken[where] = rng.integers(0, 256, 4)
            try:
                decode(broken.tobytes())
            except InputError:
                continue


def test_bomb_is_refused_on_its_header():
    bomb = png(40_000, 40_000, depth=8, colour=2, rows=b"")  # 1.6 gigapixels in 100 bytes
    with pytest.raises(TooLargeError):
        decode(bomb)
    with pytest.raises(TooLargeError, match="12x12"):
        decode(png(12, 12, depth=8, colour=2, rows=b""), DecodeLimits(max_pixels=143))
    with pytest.raises(TooLargeError, match="ratio"):
        decode(np.zeros((1, 50_000), np.uint8))
    assert decode(np.zeros((1, 100), np.uint8)).shape == (1, 100, 3)
    with pytest.raises(ConfigError):
        DecodeLimits(max_pixels=0)


def test_pillow_warnings_do_not_leak_and_filters_are_left_as_they_were():
    large = png(9_500, 9_500, depth=8, colour=0, rows=b"")  # Pillow warns above 89 million pixels
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        assert in_threads(4, lambda: decode_or_error(large)) == ["DecodeError"] * 4
        assert warnings.filters == inside
    assert not caught
    assert warnings.filters == before


@pytest.mark.parametrize(
    "data",
    [b"hello, this is a text\n" * 9, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"\0"],
)
def test_other_bytes_are_refused(data, tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=r"holiday\.jpg"):
        decode(path)
    with pytest.raises(DecodeError):
        decode(data)


def test_eps_never_starts_ghostscript(monkeypatch):
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("ran a program"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("ran a program"))
    eps = file_bytes(PilImage.new("RGB", (8, 8)), "EPS")
    with pytest.raises(DecodeError, match="expected a picture"):
        decode(eps)


def test_paths(tmp_path):
    data = file_bytes(PilImage.fromarray(gradient()), "PNG")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(DecodeError, match="zero bytes"):
        decode(empty)
    with pytest.raises(MissingFileError, match="no such file"):
        decode(tmp_path / "absent.png")
    with pytest.raises(UnreadableFileError, match="folder"):
        decode(tmp_path)
    with pytest.raises(InputError):
        decode("a\0b.png")
    with pytest.raises(InputError):
        decode("x" * 5000)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableFileError, match="regular"):
        decode(tmp_path / "pipe.png")
    for name in (b"two words.png", b"line\nbreak.png", b"\xff\xfe.png", "猫.png".encode()):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(data)
        path = os.fsdecode(path)  # bytes would be taken for the file's content
        np.testing.assert_array_equal(decode(path), gradient())
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"broken")
        with pytest.raises(DecodeError) as caught:
            decode(path)
        assert str(caught.value).isprintable()
        str(caught.value).encode("utf-8")


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything

        def refuse(*_args, **_kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UnreadableFileError, match="permission"):
        decode(path)


def test_arrays_and_pil_pictures():
    pixels = gradient()
    np.testing.assert_array_equal(decode(pixels), pixels)
    np.testing.assert_array_equal(decode(pixels[:, ::-1]), pixels[:, ::-1])
    np.testing.assert_array_equal(decode(PilImage.fromarray(pixels)), pixels)
    np.testing.assert_array_equal(decode((pixels / 255).astype(np.float32)), pixels)
    np.testing.assert_array_equal(decode(pixels[..., 0]), np.repeat(pixels[..., :1], 3, -1))
    np.testing.assert_array_equal(decode(pixels[..., :1]), np.repeat(pixels[..., :1], 3, -1))
    clear = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    assert (decode(clear) == 255).all()


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (np.full((4, 4, 3), np.nan), DecodeError),
        (np.full((4, 4, 3), np.inf, np.float32), DecodeError),
        (np.full((4, 4, 3), 200.0), DecodeError),
        (np.zeros((0, 4, 3), np.uint8), DecodeError),
        (np.zeros((4, 4, 3), np.int64), ItemTypeError),
        (np.zeros((4, 4, 2), np.uint8), ItemTypeError),
        (np.zeros(7, np.uint8), ItemTypeError),
        (np.array([["a"]]), ItemTypeError),
        (None, ItemTypeError),
        (17, ItemTypeError),
        ([1, 2], ItemTypeError),
        (b"", DecodeError),
    ],
)
def test_wrong_objects(source, error):
    with pytest.raises(error):
        decode(source)


def test_closed_pil_picture():
    picture = PilImage.open(io.BytesIO(file_bytes(PilImage.new("RGB", (8, 8)), "PNG")))
    picture.close()
    with pytest.raises(DecodeError):
        decode(picture)


def test_every_odd_size_of_a_large_jpeg():
    """Scaled decoding rounds sizes up; the box must stay inside for all of them."""
    place = AspectGeometry(patch_size=4, max_tokens=16).place
    for width, height in [(333, 251), (1001, 777), (997, 13), (129, 255), (640, 427)]:
        data = file_bytes(PilImage.new("RGB", (width, height), RED), "JPEG")
        found, placement = decode_picture(data, place, DecodeLimits())
        assert found.shape == (*placement.size[::-1], 3)
        assert np.abs(found.astype(int) - RED).max() <= 3


def test_large_jpeg_is_decoded_small(monkeypatch):
    """A JPEG is asked for at least three times the wanted side, and looks as if it were not."""
    y, x = np.mgrid[:1200, :1600]
    smooth = np.stack([x / 1600, y / 1200, (x + y) / 2800], -1)
    data = file_bytes(PilImage.fromarray((smooth * 255).astype(np.uint8)), "JPEG", quality=90)
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda s: (sizes.append(s.size), load(s))[1])
    place = SquareGeometry(size=96, patch_size=16).place
    found, _ = decode_picture(data, place, DecodeLimits())
    assert max(sizes) == (400, 300)
    with PilImage.open(io.BytesIO(data)) as picture:
        whole = picture.resize((96, 96), PilImage.Resampling.BICUBIC, box=(200, 0, 1400, 1200))
    np.testing.assert_allclose(found.astype(int), np.asarray(whole).astype(int), atol=3)


def test_decoding_is_repeatable_across_threads():
    data = file_bytes(PilImage.fromarray(gradient(333, 250)), "JPEG")
    place = AspectGeometry(patch_size=4, max_tokens=256).place
    expected = decode_picture(data, place, DecodeLimits())[0]
    found = in_threads(8, lambda: decode_picture(data, place, DecodeLimits())[0])
    assert len(found) == 8 and all(np.array_equal(f, expected) for f in found)


def test_files_are_closed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(file_bytes(PilImage.new("RGB", (4, 4)), "PNG"))
    with opened(path) as picture:
        file = picture.fp
    assert file.closed


def test_decoding_needs_no_torch():
    code = (
        "import sys, dvse.image.preparer; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def decode_or_error(source) -> str:
    try:
        decode(source)
    except InputError as error:
        return type(error).__name__
    return "decoded"


def in_threads(count: int, call) -> list:
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(count)]]


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """Write a PNG by hand (PNG specification, section 11)."""

    def block(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", header)
        + block(b"IDAT", zlib.compress(rows))
        + block(b"IEND", b"")
    )


def swapped_profile() -> bytes:
    """An sRGB profile with the tags of red and blue exchanged, and another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_an_item_may_have_a_limit_of_its_own():
    buffer = io.BytesIO()
    PilImage.new("RGB", (40, 30), (9, 99, 199)).save(buffer, "PNG")
    preparer = ImagePreparer(geometry=SquareGeometry(size=8, patch_size=4))
    small = replace(preparer, limits=DecodeLimits(max_pixels=1000))
    data = buffer.getvalue()
    with pytest.raises(TooLargeError, match="at most 1,000 pixels, the header says 40x30"):
        next(small.prepare(Image(data)))
    with pytest.raises(TooLargeError, match="at most 999 pixels"):
        next(preparer.prepare(Image(data, max_pixels=999)))
    allowed, usual = (next(p.prepare(i)).data for p, i in (
        (small, Image(data, max_pixels=1200)), (preparer, Image(data))
    ))  # fmt: skip
    assert np.array_equal(allowed, usual)
