"""A template lays out the parts of a sample as one row: `{image}What is this? {txt}`.

Fields name members of a tar sample (by extension), columns of a table, or a whole kind (`image`,
`audio`, `text`). What stands between fields is text, taken literally.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from dvse.errors import ConfigError, InputError
from pipelines.sources.record import ItemRef


@dataclass(frozen=True, kw_only=True)
class Template:
    """A parsed template.

    Attributes:
        pieces: (literal text, field name or `None`), in order.
    """

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, pattern: str) -> "Template":
        """Read a template.

        Raises:
            ConfigError: unbalanced braces, or not one field.

        >>> Template.parse("{jpg}What? {txt}").pieces
        (('', 'jpg'), ('What? ', 'txt'))
        """
        try:
            pieces = tuple((text, name) for text, name, _, _ in Formatter().parse(pattern))
        except ValueError as error:
            raise ConfigError(f"--template {pattern!r}: {error}") from None
        if not any(name for _, name in pieces):
            raise ConfigError(
                f"--template {pattern!r}: expected at least one field in braces, such as "
                "{image} or {txt}"
            )
        return cls(pieces=pieces)

    def fill(self, fields: Mapping[str, tuple[ItemRef, ...]]) -> tuple[ItemRef, ...]:
        """Return the refs of one sample in order.

        Raises:
            InputError: the sample lacks a field.
        """
        refs: list[ItemRef] = []
        for literal, name in self.pieces:
            if literal:
                refs.append(ItemRef.of_text(literal))
            if name:
                if not fields.get(name):
                    has = ", ".join(sorted(k for k, v in fields.items() if v)) or "nothing"
                    raise InputError(f"the sample has no {name!r} for the template; it has {has}")
                refs.extend(fields[name])
        return tuple(refs)
