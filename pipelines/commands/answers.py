"""Values that a flag takes as words, and places that it takes as paths or addresses."""

import argparse
from collections.abc import Callable

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location, location, writable_location


def place(text: str) -> Location:
    """Return the place of a path or an address to read from.

    >>> place("tokens")
    PosixPath('tokens')
    """
    return _place(location, text)


def output_place(text: str) -> Location:
    """Return the place of a path or an address to write to."""
    return _place(writable_location, text)


def _place(parse: Callable[[str], Location], text: str) -> Location:
    try:
        return parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def yes_or_no(text: str) -> bool:
    """Return whether a flag says yes.

    >>> yes_or_no("yes"), yes_or_no("no")
    (True, False)
    """
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"expected yes or no, received {text!r}")
    return text == "yes"
