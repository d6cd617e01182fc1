"""The text part of a bundle as transformers calls it: `AutoTokenizer.from_pretrained(bundle)`.

It has the bundle's whole vocabulary, so it prints and counts every id, and lays out conversations
as `dvse.chat` does. Pictures and recordings need encoders and are `DvseProcessor`'s.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
from transformers import AddedToken, BatchEncoding, PreTrainedTokenizer

from dvse.chat import render
from dvse.errors import ConfigError, InputError
from dvse.items import Special, Text
from dvse.special_tokens import END_OF_TEXT, END_THINK, THINK
from dvse.storage.bundle import Bundle, save_for_transformers
from dvse.storage.finding import find_bundle
from dvse.text.loading import load_text_tokenizer
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary

_FIND_OPTIONS = ("revision", "token")
_OWN_OPTIONS = ("padding_side", "truncation_side", "model_max_length", "split_special_tokens")


class DvseTokenizer(PreTrainedTokenizer):
    """Strings to ids of the shared vocabulary, as transformers calls it.

    *Deviations* from transformers' habit: text is taken literally, so `<|user|>` in it stays eight
    characters unless `split_special_tokens=False` asks for markers to be read; rows are padded on
    the left, for a decoder goes on at the right; `<think>` is printed even where special tokens
    are skipped, as GLM's own tokenizer does, so that reasoning does not run into the answer.

    Args:
        text, vocabulary: of a bundle.
        bundle: where it lies, so that it can be saved.

    >>> tokenizer = DvseTokenizer.from_pretrained("tiny")
    >>> tokenizer.decode(tokenizer("a <|user|>  b")["input_ids"])
    'a <|user|>  b'
    """

    vocab_files_names: dict[str, str] = {}  # noqa: RUF012 - a bundle is read as a whole
    model_input_names: list[str] = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        text: TextTokenizer,
        vocabulary: Vocabulary,
        *,
        bundle: Bundle | None = None,
        padding_side: str = "left",
        split_special_tokens: bool = True,
        **options: Any,
    ) -> None:
        self.text, self.vocabulary, self.bundle = text, vocabulary, bundle
        super().__init__(
            pad_token=END_OF_TEXT,
            eos_token=END_OF_TEXT,
            extra_special_tokens=[n for n in vocabulary.special_tokens if n != END_OF_TEXT],
            added_tokens_decoder=_markers(vocabulary),
            padding_side=padding_side,
            split_special_tokens=split_special_tokens,
            clean_up_tokenization_spaces=False,
            **options,
        )
        self._update_trie()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, *_: Any, **options: Any
    ) -> Self:
        """Load the text part of a bundle by shipped name, path or Hub id.

        Of the options, `revision` and `token` apply, and `padding_side`, `truncation_side`,
        `model_max_length`, `split_special_tokens`.
        """
        found = {name: options[name] for name in _FIND_OPTIONS if name in options}
        bundle = Bundle.open(find_bundle(pretrained_model_name_or_path, **found))
        text = load_text_tokenizer(bundle.sections["text"].spec, bundle.folder / "text")
        own = {name: options[name] for name in _OWN_OPTIONS if name in options}
        return cls(text, bundle.vocabulary, bundle=bundle, **own)

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *_: Any, **options: Any
    ) -> tuple[str, ...]:
        """Write the bundle, which this is a part of; see `DvseProcessor.save_pretrained`.

        Returns:
            The files written.

        Raises:
            ConfigError: it was not made from a bundle, or is to be pushed: push the processor.
        """
        if self.bundle is None or options.get("push_to_hub"):
            raise ConfigError("save or push the processor or the dvse.Tokenizer, which has it all")
        return save_for_transformers(self.bundle.copy_to, self.bundle.folder, Path(save_directory))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.vocabulary.num_ids

    def get_vocab(self) -> dict[str, int]:
        """Return every name with its id."""
        return dict(self._id_of)

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Sequence[Any],
        tools: None = None,
        documents: None = None,
        chat_template: None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        enable_thinking: bool = False,
    ) -> Any:
        """Return one conversation or a list of them in GLM's chat format, see `dvse.chat.render`.

        Args:
            conversation: messages of text.
            tools, documents, chat_template: not known to this format, refused.
            add_generation_prompt: end with `<|assistant|>`, ready for an answer.
            continue_final_message: leave the last answer open, to be gone on with.
            tokenize: `False` returns the text of it.
            padding, truncation, max_length, return_tensors: as for calling the tokenizer.
            return_dict: `False` returns the ids alone.
            return_assistant_tokens_mask: add `assistant_masks`, 1 where an answer is learnt.
            enable_thinking: leave room for `<think>`.

        Raises:
            InputError: messages of another form, or with pictures or recordings.
        """
        if tools is not None or documents is not None or chat_template is not None:
            raise ConfigError("tools, documents and other templates: expected none of them")
        single = not conversation or isinstance(conversation[0], Mapping)
        rows = [
            self._chat_row(
                messages,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                enable_thinking=enable_thinking,
            )
            for messages in ([conversation] if single else conversation)
        ]
        if truncation and max_length is not None:
            rows = [(ids[:max_length], learnt[:max_length]) for ids, learnt in rows]
        if not tokenize:
            texts = [self.decode(ids) for ids, _ in rows]
            return texts[0] if single else texts
        batch: dict[str, Any] = {"input_ids": [ids for ids, _ in rows]}
        batch = self.pad(batch, padding=padding, max_length=max_length).data
        if return_assistant_tokens_mask:
            pairs = zip(rows, batch["input_ids"], strict=True)
            batch["assistant_masks"] = [self._padded(row[1], len(ids)) for row, ids in pairs]
        if single and return_tensors is None:
            batch = {name: values[0] for name, values in batch.items()}
        encoding = BatchEncoding(batch, tensor_type=return_tensors)
        return encoding if return_dict else encoding["input_ids"]

    def _chat_row(self, messages: Any, **options: bool) -> tuple[list[int], list[int]]:
        chat = render(messages, **options)
        ids: list[int] = []
        learnt: list[int] = []
        for item, is_answer in zip(chat.items, chat.is_answer, strict=True):
            if isinstance(item, Text):
                found = self.text.encode(item.text).tolist()
            elif isinstance(item, Special):
                found = [self.vocabulary.special_tokens[item.name]]
            else:
                raise InputError(
                    f"expected messages of text, received {type(item).__name__}; pictures and "
                    "recordings are encoded by the processor, AutoProcessor.from_pretrained"
                )
            ids += found
            learnt += [int(is_answer)] * len(found)
        return ids, learnt

    def _padded(self, values: list[int], width: int) -> list[int]:
        filling = [0] * (width - len(values))
        return filling + values if self.padding_side == "left" else values + filling

    @cached_property
    def _id_of(self) -> dict[str, int]:
        pieces = {self.text.piece(i): i for i in range(self.text.size)}
        return {**pieces, **{marker.content: i for i, marker in _markers(self.vocabulary).items()}}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return [self.text.piece(i) for i in self.text.encode(text).tolist()]

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._id_of.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        if not 0 <= index < self.vocabulary.num_ids:
            return f"<|unused_{index}|>"  # rows that only fill up the decoder's table
        is_text = index < self.text.size
        return self.vocabulary.name_of(index, piece=self.text.piece(index) if is_text else None)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of tokens."""
        return self._decode([self._id_of[token] for token in tokens])

    def _decode(
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_: Any,
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        parts = []
        for is_text, run in groupby(ids, key=self._is_text):
            if is_text:
                parts.append(self.text.decode(np.array(list(run))))
                continue
            names = [self._convert_id_to_token(int(i)) for i in run]
            if skip_special_tokens:
                names = [name for name in names if name in (THINK, END_THINK)]
            parts += names
        return "".join(parts)

    def _is_text(self, token_id: int) -> bool:
        is_known = 0 <= token_id < self.vocabulary.num_ids
        return is_known and int(self.vocabulary.kinds(token_id)) == 0


def _markers(vocabulary: Vocabulary) -> dict[int, AddedToken]:
    """Every id that is no text, by its name."""
    ids = np.arange(vocabulary.num_ids)
    return {
        int(i): AddedToken(vocabulary.name_of(int(i)), special=True, normalized=False)
        for i in ids[vocabulary.kinds(ids) != 0]
    }
