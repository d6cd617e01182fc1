"""What a user hands in: `Text`, `Image`, `Audio` (and `Special`, which chat templates add).

Plain descriptions of inputs. What cannot be a picture or recording at all is refused when it is
handed in. No path is opened here: what is wrong with a file is reported by the tokenizer when it
reads it, so that one bad item never costs the others. Knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, TypeAlias

from dvse.errors import ItemTypeError
from dvse.media_file import printable
from dvse.plain_source import plain_picture, plain_recording


@dataclass(frozen=True)
class Text:
    """A piece of text, taken literally: `<|begin_of_image|>` inside it stays eighteen characters.

    >>> Text("hello").text
    'hello'
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ItemTypeError(
                f"dvse.Text takes a str, received {type(self.text).__name__}; decode bytes first"
            )


@dataclass(frozen=True)
class Image:
    """A picture: a path, the bytes of a file, a PIL image, or a uint8 array [H, W] or [H, W, 3|4].

    An open file or `BytesIO` is read from its start. A tensor is taken as torchvision has it,
    [3, H, W], or as an array is; floats are in 0..1. What `datasets` keeps, `{"bytes", "path"}`,
    is a picture too. `max_pixels` is its limit, where it is not to be the bundle's. `name` is what
    messages call it, where it is no path.

    Raises:
        ItemTypeError: a mapping without a picture, a tensor or open file that cannot be read.

    >>> Image("cat.jpg").source
    'cat.jpg'
    """

    source: str | PathLike[str] | bytes | Any
    max_pixels: int | None = field(default=None, kw_only=True, repr=False)
    name: str | None = field(default=None, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", plain_picture(self.source))


@dataclass(frozen=True, init=False)
class Audio:
    """A recording: a path, the bytes of a file, or a float array [samples] or [samples, channels].

    An array needs its `sample_rate_hz` (or `sampling_rate`, as Hugging Face spells it); a file
    brings its own. An open file or `BytesIO` is read from its start. A tensor of two dimensions is
    taken as torchaudio has it, [channels, samples]. What `datasets` gives, `{"array",
    "sampling_rate"}`, `{"bytes", "path"}` or a decoder of torchcodec, is a recording too. `pcm`
    says what raw samples without a header are (`s16le:16000:1`: encoding, rate, channels). `name`
    is what messages call it, where it is no path.

    Raises:
        ItemTypeError: two rates that differ, a mapping without a recording, a tensor or open file
            that cannot be read.

    >>> Audio("seven.wav").source
    'seven.wav'
    """

    source: str | PathLike[str] | bytes | Any
    sample_rate_hz: int | None = None
    pcm: str | None = field(default=None, kw_only=True, repr=False)
    name: str | None = field(default=None, kw_only=True, compare=False, repr=False)

    def __init__(
        self,
        source: str | PathLike[str] | bytes | Any,
        sample_rate_hz: int | None = None,
        *,
        sampling_rate: int | None = None,
        pcm: str | None = None,
        name: str | None = None,
    ) -> None:
        source, found = plain_recording(source)
        rates = [rate for rate in (sample_rate_hz, sampling_rate, found) if rate is not None]
        if any(rate != rates[0] for rate in rates):
            raise ItemTypeError(f"expected one sample rate, received {rates}")
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "sample_rate_hz", rates[0] if rates else None)
        object.__setattr__(self, "pcm", pcm)
        object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class Special:
    """A special token by name, as chat templates put between turns; never made from user text.

    >>> Special("<|user|>").name
    '<|user|>'
    """

    name: str


Item: TypeAlias = Text | Image | Audio | Special
MODALITIES = ("text", "image", "audio")


def as_sequence(item: Item | Sequence[Item]) -> tuple[Item, ...]:
    """Return one row of input as a tuple of items.

    Raises:
        ItemTypeError: anything but `Text`, `Image`, `Audio` or a list of them.

    >>> as_sequence(Text("a"))
    (Text(text='a'),)
    """
    sequence = (item,) if isinstance(item, Text | Image | Audio | Special) else item
    if isinstance(sequence, str | bytes | PathLike) or not isinstance(sequence, Sequence):
        raise ItemTypeError(
            "expected dvse.Text, dvse.Image, dvse.Audio or a list of them, received "
            f"{type(item).__name__} {_short(item)}; say which it is, "
            'for example dvse.Text("hello") or dvse.Image("cat.jpg")'
        )
    if not sequence:
        raise ItemTypeError("expected at least one item in a row, received an empty list")
    for part in sequence:
        if not isinstance(part, Text | Image | Audio | Special):
            raise ItemTypeError(
                "expected dvse.Text, dvse.Image or dvse.Audio inside a row, received "
                f"{type(part).__name__} {_short(part)}; say which it is, "
                'for example dvse.Text("hello") or dvse.Image("cat.jpg")'
            )
    return tuple(sequence)


def row_name(row: Item | Sequence[Item]) -> str:
    """Return the paths of a row, to begin a message with; nothing where it has none.

    >>> row_name([Image("cat.png"), Text("What is this?"), Audio("seven.wav")])
    'cat.png, seven.wav: '
    """
    media = [item for item in as_sequence(row) if isinstance(item, Image | Audio)]
    names = [item.source for item in media if isinstance(item.source, str | PathLike)]
    return ", ".join(printable(fspath(name)) for name in names) + ": " if names else ""


def _short(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
