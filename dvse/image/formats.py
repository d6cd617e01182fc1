"""The formats that are opened: one table for the opener and for whoever lists files.

Only formats on it are opened: Pillow's others start outside programs (EPS, WMF), hold no pixels, or
cannot be told from other bytes. Imports nothing of Pillow.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format of pictures.

    Attributes:
        name: Pillow's.
        plugin: module of Pillow, or the package that brings it (extra `formats`).
        endings: of names, lower case.
        has_signature: whether its first bytes tell it; else the name of the file has to.
        is_extra: whether the package is an extra.
        has_loose_alpha: whether writers leave alpha at 0 throughout and mean an opaque picture.
    """

    name: str
    plugin: str
    endings: tuple[str, ...]
    has_signature: bool = True
    is_extra: bool = False
    has_loose_alpha: bool = False


# They are tried in this order.
TABLE = (
    Format("JPEG", "JpegImagePlugin", ("jpg", "jpeg", "jpe", "jfif", "mpo")),
    Format("PNG", "PngImagePlugin", ("png", "apng")),
    Format("WEBP", "WebPImagePlugin", ("webp",)),
    Format("GIF", "GifImagePlugin", ("gif",)),
    Format("AVIF", "AvifImagePlugin", ("avif", "avifs")),
    Format("BMP", "BmpImagePlugin", ("bmp",), has_loose_alpha=True),
    Format("TIFF", "TiffImagePlugin", ("tif", "tiff")),
    Format("JPEG2000", "Jpeg2KImagePlugin", ("jp2", "j2k", "jpc", "jpx", "j2c", "jpf")),
    Format("PPM", "PpmImagePlugin", ("ppm", "pgm", "pbm", "pnm", "pfm")),
    Format("DIB", "BmpImagePlugin", ("dib",), has_loose_alpha=True),
    Format("PSD", "PsdImagePlugin", ("psd",)),
    Format("DDS", "DdsImagePlugin", ("dds",)),
    Format("QOI", "QoiImagePlugin", ("qoi",)),
    Format("ICNS", "IcnsImagePlugin", ("icns",)),
    Format("ICO", "IcoImagePlugin", ("ico",), has_loose_alpha=True),
    Format("CUR", "CurImagePlugin", ("cur",), has_loose_alpha=True),
    Format("SGI", "SgiImagePlugin", ("sgi", "rgb", "rgba", "bw")),
    Format("BLP", "BlpImagePlugin", ("blp",)),
    Format("SUN", "SunImagePlugin", ("ras",)),
    Format("XBM", "XbmImagePlugin", ("xbm",)),
    Format("XPM", "XpmImagePlugin", ("xpm",)),
    Format("MSP", "MspImagePlugin", ("msp",)),
    Format("PCX", "PcxImagePlugin", ("pcx",)),
    Format("TGA", "TgaImagePlugin", ("tga", "icb", "vda", "vst"), False, has_loose_alpha=True),
    Format("HEIF", "pillow_heif", ("heic", "heif", "hif"), is_extra=True),
    Format("JXL", "pillow_jxl", ("jxl",), is_extra=True),
)
ENDINGS = frozenset(f".{ending}" for known in TABLE for ending in known.endings)
LOOSE_ALPHA = frozenset(known.name for known in TABLE if known.has_loose_alpha)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"heif")


def extra_of(start: bytes) -> Format | None:
    r"""Return the format of an extra that the first bytes tell, `None` for another.

    >>> extra_of(b"\xff\x0a....").name
    'JXL'
    """
    name = None
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        name = "HEIF"
    elif start[:2] == b"\xff\x0a" or start[4:8] == b"JXL ":
        name = "JXL"
    return next((known for known in TABLE if known.name == name), None)
