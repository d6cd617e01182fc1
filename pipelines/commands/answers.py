"""Values that a flag takes as words."""

import argparse


def yes_or_no(text: str) -> bool:
    """Return whether a flag says yes.

    >>> yes_or_no("yes"), yes_or_no("no")
    (True, False)
    """
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"expected yes or no, received {text!r}")
    return text == "yes"
