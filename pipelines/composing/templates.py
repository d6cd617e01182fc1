"""The kinds of templates: what a stored row becomes. A new kind is one class.

    document          all of it is learnt
    prompt, answer    the answer is learnt, and the <|endoftext|> behind it
    user, assistant   a conversation in the bundle's chat format; answers are learnt
    interleave        a recording whose words are spoken and written in turns

Each takes a row of the modality that its fields ask for. What it cannot be filled in for is left
out, with a reason.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dvse.chat import render
from dvse.items import Audio, Image, Special, Text
from dvse.special_tokens import END_OF_TEXT
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary
from pipelines.composing.interleaving import Interleaving
from pipelines.composing.parts import Composed, Part
from pipelines.composing.table import Table
from pipelines.composing.template_text import MEDIA, TemplateText, Value, encoded


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row that a template could not be filled in for."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """What turns words into ids.

    Attributes:
        vocabulary, text: of the bundle that made the rows.
        tasks: name → id of task tokens.
    """

    vocabulary: Vocabulary
    text: TextTokenizer
    tasks: Mapping[str, int]

    def special(self, name: str, *, is_learnt: bool) -> Part:
        """Return a special token by its name."""
        return Part.of_special(self.vocabulary.special_id(name), is_learnt=is_learnt)


class Template(ABC):
    """What becomes of a row.

    Attributes:
        name: of the template in its recipe.
        table: its table, where its fields are columns of one.
    """

    name: str
    table: Table | None
    has_mask: bool = True

    @property
    @abstractmethod
    def fields(self) -> set[str]:
        """Names of its fields."""

    @abstractmethod
    def parts(
        self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Value]], words: Words
    ) -> Sequence[Part]:
        """Return the parts of one composed row.

        Args:
            row: the stored row.
            lines: what stands in the fields; several for a conversation of several turns.
            words: of the bundle.
        """

    @property
    def modality(self) -> str | None:
        """The modality that a row must have; `None` for any that has a text."""
        media = self.fields & set(MEDIA)
        return media.pop() if media else None

    is_together: bool = False

    def compose(self, row: Mapping[str, Any], words: Words) -> Iterator[Composed | LeftOut]:
        """Yield what becomes of a row: nothing where the template is not meant for it."""
        if row["modality"] != (self.modality or row["modality"]) or row["modality"] == "mixed":
            return
        given = self._given(row, words)
        id = f"{self.name}/{row['id']}"
        if isinstance(given, str):
            yield LeftOut(id=id, reason=given)
            return
        sets = [given] if self.is_together else [[line] for line in given]
        for number, lines in enumerate(sets):
            parts = self.parts(row, lines, words)
            name = id if len(sets) == 1 else f"{id}#{number}"
            yield Composed(id=name, parts=parts, inputs=(row,), has_mask=self.has_mask)

    def _given(self, row: Mapping[str, Any], words: Words) -> list[dict[str, Value]] | str:
        """What stands in the fields, a mapping for each line of the table; or why nothing can."""
        values: dict[str, Value] = {
            name: Part.of_special(id, is_learnt=False) for name, id in words.tasks.items()
        }
        if row["modality"] in MEDIA:
            values[row["modality"]] = Part.of_row(row)
        if "text" in self.fields:
            text = row["text"]
            if row["modality"] == "text":
                text = words.text.decode(row["ids"])
            if not (text or "").strip():
                return "it has no text"
            values["text"] = text if row["modality"] == "text" else text.strip()
        if self.table is None:
            return [values]
        lines = self.table.lines(row["id"])
        return [
            {**values, **line} for line in lines
        ] or f"{self.table.path.name} has no line for it"


@dataclass(frozen=True, kw_only=True)
class DocumentTemplate(Template):
    """All of it is learnt; some documents may stand together in one row."""

    name: str
    document: TemplateText
    table: Table | None = None
    has_mask: bool = False

    @property
    def fields(self) -> set[str]:
        """Names of its fields."""
        return self.document.fields

    def parts(
        self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Value]], words: Words
    ) -> Sequence[Part]:
        """Return the document."""
        return list(encoded(self.document.values(lines[0]), words.text, is_learnt=True))


@dataclass(frozen=True, kw_only=True)
class PromptTemplate(Template):
    """A prompt and its answer, which is learnt with its end."""

    name: str
    prompt: TemplateText
    answer: TemplateText
    table: Table | None = None

    @property
    def fields(self) -> set[str]:
        """Names of its fields."""
        return self.prompt.fields | self.answer.fields

    def parts(
        self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Value]], words: Words
    ) -> Sequence[Part]:
        """Return prompt, answer and end."""
        return [
            *encoded(self.prompt.values(lines[0]), words.text, is_learnt=False),
            *encoded(self.answer.values(lines[0]), words.text, is_learnt=True),
            words.special(END_OF_TEXT, is_learnt=True),
        ]


@dataclass(frozen=True, kw_only=True)
class ChatTemplate(Template):
    """A conversation, laid out by `dvse.chat` as a decoder's prompts are.

    Attributes:
        is_together: whether the lines of one input are turns of one conversation; the picture or
            recording stands in the first turn alone.
    """

    name: str
    user: TemplateText
    assistant: TemplateText
    system: TemplateText | None = None
    table: Table | None = None
    is_together: bool = False

    @property
    def fields(self) -> set[str]:
        """Names of its fields."""
        system = set() if self.system is None else self.system.fields
        return self.user.fields | self.assistant.fields | system

    def parts(
        self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Value]], words: Words
    ) -> Sequence[Part]:
        """Return the conversation."""
        held: list[Part] = []
        messages = []
        if self.system is not None:
            messages.append(_message("system", self.system.values(lines[0]), held))
        for number, line in enumerate(lines):
            shown = MEDIA if number else ()
            messages.append(_message("user", self.user.values(line, without=shown), held))
            messages.append(_message("assistant", self.assistant.values(line), held))
        chat = render(messages)
        parts: list[Part] = []
        for item, is_answer in zip(chat.items, chat.is_answer, strict=True):
            match item:
                case Special():
                    parts.append(words.special(item.name, is_learnt=is_answer))
                case Text():
                    ids = words.text.encode(item.text).astype("int64")
                    parts.append(Part.of_text(ids, is_learnt=is_answer))
                case Image() | Audio():
                    assert isinstance(item.source, bytes), "a number, see _message"
                    parts.append(held[int(item.source)].learnt(is_answer))
        return parts


@dataclass(frozen=True, kw_only=True)
class InterleaveTemplate(Template):
    """A recording whose words are spoken and written in turns; all of it is learnt."""

    name: str
    interleaving: Interleaving
    table: Table | None = None
    has_mask: bool = False

    @property
    def fields(self) -> set[str]:
        """The recording."""
        return {"audio"}

    def compose(self, row: Mapping[str, Any], words: Words) -> Iterator[Composed | LeftOut]:
        """Yield the row in turns of speech and text."""
        if row["modality"] != "audio":
            return
        id = f"{self.name}/{row['id']}"
        timed = self.interleaving.timed(row["id"])
        if not timed:
            yield LeftOut(id=id, reason=f"{self.interleaving.file} has no words for it")
            return
        parts = self.interleaving.parts(row, timed, words.vocabulary, words.text)
        yield Composed(id=id, parts=parts, inputs=(row,), has_mask=False)

    def parts(
        self, row: Mapping[str, Any], lines: Sequence[Mapping[str, Value]], words: Words
    ) -> Sequence[Part]:
        """Never asked for: `compose` does it."""
        raise NotImplementedError


def _message(role: str, values: Sequence[Value], held: list[Part]) -> dict[str, Any]:
    """A message whose media are numbers of parts; the chat format knows none of our ids."""
    content: list[dict[str, Any]] = []
    for value in values:
        if isinstance(value, str):
            content.append({"type": "text", "text": value})
        else:
            # A task token stands where a picture could: only its place matters here.
            content.append({"type": "image", "image": b"%d" % len(held)})
            held.append(value)
    return {"role": role, "content": content}
