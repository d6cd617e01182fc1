"""Inputs of the plain endpoints to items."""

from collections.abc import Sequence

from dvse.data_url import read_data
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Text
from pipelines.server.schemas.multimodal import AudioInput, ImageInput, TextInput


def as_items(inputs: Sequence[TextInput | ImageInput | AudioInput]) -> list[Item]:
    r"""Return the items of a list of inputs, base64 decoded.

    Raises:
        InputError: data that is not base64.

    >>> as_items([ImageInput(type="image", data="AAEC")])
    [Image(source=b'\x00\x01\x02')]
    """
    items: list[Item] = []
    for number, entry in enumerate(inputs):
        if isinstance(entry, TextInput):
            items.append(Text(entry.text))
        elif isinstance(entry, ImageInput):
            items.append(Image(_decoded(entry.data, number)))
        else:
            items.append(Audio(_decoded(entry.data, number)))
    return items


def _decoded(data: str, number: int) -> bytes:
    try:
        return read_data(data)
    except InputError as error:
        raise InputError(f"input {number}: {error}") from None
