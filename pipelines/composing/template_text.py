"""The text of a template: words of its own and `{fields}`, filled in row by row.

{image} {audio}      the stored ids of a picture or a recording, brackets included
{text}               the text beside it, or of a row that is a text
{column}             a column of the template's table
{task}               a task token, by the name that the recipe gives it
{{ }}                the characters { and }
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TypeAlias

from dvse.errors import ConfigError
from dvse.text.tokenizer import TextTokenizer
from pipelines.composing.parts import Part

Value: TypeAlias = str | Part

MEDIA = ("image", "audio")


@dataclass(frozen=True)
class Field:
    """A place in a template."""

    name: str


@dataclass(frozen=True, kw_only=True)
class TemplateText:
    """A text with places.

    Attributes:
        pieces: texts and places in order.
    """

    pieces: tuple[str | Field, ...]

    @classmethod
    def parse(cls, text: str, *, known: Sequence[str], where: str) -> "TemplateText":
        """Read a text.

        Args:
            text: with `{fields}`.
            known: names that a field may have.
            where: file, table and key, for messages.

        Raises:
            ConfigError: an unknown field, or a brace that nothing closes.
        """
        pieces: list[str | Field] = []
        try:
            for literal, name, form, conversion in Formatter().parse(text):
                if literal:
                    pieces.append(literal)
                if name is None:
                    continue
                if name not in known or form or conversion:
                    shown = name + (f":{form}" if form else "") + (conversion or "")
                    raise ConfigError(
                        f"{where}: expected fields of {', '.join(f'{{{k}}}' for k in known)}, "
                        f"received {{{shown}}}"
                    )
                pieces.append(Field(name))
        except ValueError as error:
            raise ConfigError(f"{where}: {error}; a brace itself is written {{{{ or }}}}") from None
        return cls(pieces=tuple(pieces))

    @property
    def fields(self) -> set[str]:
        """Names of its places."""
        return {piece.name for piece in self.pieces if isinstance(piece, Field)}

    def values(self, given: Mapping[str, Value], *, without: Sequence[str] = ()) -> list[Value]:
        """Return texts and parts in order, neighbouring texts as one.

        Args:
            given: what stands in each place.
            without: places that stay empty.
        """
        found: list[Value] = []
        for piece in self.pieces:
            if isinstance(piece, Field) and piece.name in without:
                continue
            value = given[piece.name] if isinstance(piece, Field) else piece
            if isinstance(value, str) and found and isinstance(found[-1], str):
                found[-1] += value
            else:
                found.append(value)
        return found


def encoded(values: Sequence[Value], text: TextTokenizer, *, is_learnt: bool) -> Iterator[Part]:
    """Yield the parts of texts and parts, all with the same loss."""
    for value in values:
        if isinstance(value, Part):
            yield value.learnt(is_learnt)
        elif value:
            yield Part.of_text(text.encode(value).astype("int64"), is_learnt=is_learnt)
