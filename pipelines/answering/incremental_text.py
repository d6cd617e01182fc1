"""Text as it grows, token by token: whole characters only.

A character may need several byte pieces; what has come of it is held back until it is whole.
Knows ids of text, nothing of how they are chosen.
"""

from dvse.text.tokenizer import TextTokenizer

_REPLACEMENT = "\ufffd"


class IncrementalText:
    r"""Turns ids into pieces of text that add up to the decoded whole.

    >>> import dvse
    >>> text = dvse.load("tiny").text
    >>> growing = IncrementalText(text)
    >>> pieces = [growing.push(i) for i in text.encode("a \U0001f600!").tolist()]
    >>> "".join(pieces) + growing.finish()
    'a 😀!'
    """

    def __init__(self, text: TextTokenizer) -> None:
        self._text = text
        self._held: list[int] = []
        self._num_given = 0  # characters of the held ids that were returned already

    def push(self, token_id: int) -> str:
        """Take the next id and return the text that is now certain, perhaps none."""
        self._held.append(token_id)
        whole = self._text.decode(self._held)
        certain = whole.rstrip(_REPLACEMENT)
        piece = certain[self._num_given :]
        if certain == whole:
            self._held.clear()
            self._num_given = 0
        else:
            self._num_given += len(piece)
        return piece

    def finish(self) -> str:
        """Return what is left; bytes that never became a character are U+FFFD."""
        piece = self._text.decode(self._held)[self._num_given :] if self._held else ""
        self._held.clear()
        self._num_given = 0
        return piece
