"""What may differ from the inputs that a job was begun with."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """What the user asked for.

    Attributes:
        append: take new inputs in.
        redo_changed: make rows of changed inputs again, drop those of inputs that are gone.
        retry_errors: take in what could not be opened before.
    """

    append: bool = False
    redo_changed: bool = False
    retry_errors: bool = False
