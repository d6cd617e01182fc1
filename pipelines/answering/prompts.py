"""From media and a question to the ids that a decoder answers: one user turn in the chat format.

Where nobody asks anything, a picture or recording gets the question of `DEFAULT_QUESTIONS`, which
training uses too. Knows the chat format by its one door, `dvse.chat.render`, and no decoder.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dvse.chat import opening, render
from dvse.errors import InputError, PromptTooLongError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.special_tokens import ASSISTANT, GMASK, OBSERVATION, SOP, SYSTEM, USER

if TYPE_CHECKING:
    from dvse.encoding import Encoding
    from dvse.tokenizer import Tokenizer

_ROLES = {ASSISTANT, OBSERVATION, SYSTEM, USER}

DEFAULT_QUESTIONS = {
    "image": "What is this?",
    "audio": "What was said?",
    "mixed": "Describe this.",
}


def prompt_row(
    items: Sequence[Item], question: str | None = None, *, thinking: bool = False
) -> tuple[Item, ...]:
    r"""Return the row of a prompt: the items, then the question, then the opening of the answer.

    Args:
        items: pictures, recordings and texts of one user turn, in order.
        question: the text after them; `None` for the default of their modality, which is none
            where a text is among them.
        thinking: leave room for `<think>…</think>`; otherwise it is closed in the prompt.

    >>> [getattr(i, "text", i) for i in prompt_row([Image("cat.jpg")])[3:6]]
    ['\n', Image(source='cat.jpg'), 'What is this?']
    """
    if question is None:
        question = _default_question(items)
    content = [_part(item) for item in items]
    if question:
        content.append({"type": "text", "text": question})
    return render(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        enable_thinking=thinking,
    ).items


def conversation_row(items: Sequence[Item], *, thinking: bool = False) -> tuple[Item, ...]:
    r"""Return the prompt of a conversation that is laid out already, such as a line of JSONL.

    Its last answer, if it ends with one, is cut off: that is what the decoder is to say.

    >>> from dvse.items import Special
    >>> done = (Special("<|user|>"), Text("Hi"), Special("<|assistant|>"), Text("Hello"))
    >>> conversation_row(done, thinking=True)[-2:]
    (Special(name='<|assistant|>'), Text(text='\n'))
    """
    turns = [n for n, i in enumerate(items) if isinstance(i, Special) and i.name in _ROLES]
    if turns and items[turns[-1]] == Special(ASSISTANT):
        items = items[: turns[-1]]
    return (*items, *opening(thinking=thinking))


def pooled_row(item: Item) -> tuple[Item, ...]:
    """Return the row whose states, averaged over the last item, say what the decoder makes of it.

    Nothing is asked, so the states are of the item alone.

    >>> len(pooled_row(Text("cat")))
    5
    """
    return (Special(GMASK), Special(SOP), Special(USER), Text("\n"), item)


def encode_prompts(
    tokenizer: "Tokenizer", rows: Iterable[Sequence[Item]], *, max_length: int
) -> Iterator["Encoding | InputError"]:
    """Yield for each row, in order, its ids or the error that it cost.

    Args:
        tokenizer: of the decoder's bundle.
        rows: from `prompt_row`, or `dvse.chat.render` for whole conversations.
        max_length: positions that the decoder has (`max_position_embeddings`); a prompt has to
            leave at least one for the answer.
    """
    for result in tokenizer.encode_many(rows):
        if isinstance(result, InputError) or len(result) < max_length:
            yield result
        else:
            yield too_long(len(result), max_length)


def too_long(length: int, max_length: int) -> PromptTooLongError:
    """Return the error of a prompt that fills the decoder's context.

    >>> print(too_long(3000, 2048))
    the prompt has 3000 ids, the decoder's context holds 2048 with its answer; use a shorter \
recording, a smaller picture or a shorter question
    """
    return PromptTooLongError(
        f"the prompt has {length} ids, the decoder's context holds {max_length} with its answer; "
        "use a shorter recording, a smaller picture or a shorter question"
    )


def _default_question(items: Sequence[Item]) -> str:
    kinds = {type(item) for item in items}
    if Text in kinds:
        return ""
    if kinds == {Image}:
        return DEFAULT_QUESTIONS["image"]
    return DEFAULT_QUESTIONS["audio" if kinds == {Audio} else "mixed"]


def _part(item: Item) -> dict[str, Any]:
    match item:
        case Text():
            return {"type": "text", "text": item.text}
        case Image():
            return {"type": "image", "image": item.source}
        case Audio():
            return {"type": "audio", "audio": item.source, "sample_rate_hz": item.sample_rate_hz}
    raise InputError(f"expected dvse.Image, dvse.Audio or dvse.Text, received {item!r:.60}")
