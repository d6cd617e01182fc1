"""The front door: `dvse.load` and `Tokenizer`, items in, ids out, and back.

    items ─ preparers ─► chunks ─ encode_chunks ─► codes ─ assemble ─► ids

It knows the order of the steps and nothing of how a picture or a recording is read or encoded.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from dvse.batch import PaddingSide, TokenBatch, collate
from dvse.bundle import Bundle, Section, find_bundle, write_bundle
from dvse.chunk import Chunk, EncodedChunk
from dvse.encoding import (
    AudioSegment,
    Encoding,
    ImageSegment,
    Segment,
    Span,
    SpecialSegment,
    TextSegment,
)
from dvse.errors import ConfigError, IdRangeError, InputError
from dvse.grammar import Grammar
from dvse.items import Item, as_sequence
from dvse.media_tokenizer import MediaTokenizer
from dvse.numerics import NumericsProfile
from dvse.preparers import Preparers
from dvse.special_tokens import (
    BEGIN_OF_AUDIO,
    BEGIN_OF_IMAGE,
    END_OF_AUDIO,
    END_OF_IMAGE,
    END_OF_TEXT,
    grid_token,
)
from dvse.text.tokenizer import TextTokenizer, load_text_tokenizer
from dvse.vocabulary import Vocabulary

Row: TypeAlias = Item | Sequence[Item]

_MODALITY_IDS = {"text": 0, "special": 0, "image": 1, "audio": 2}
_BRACKETS = {"image": (BEGIN_OF_IMAGE, END_OF_IMAGE), "audio": (BEGIN_OF_AUDIO, END_OF_AUDIO)}
_CHUNKS_AT_ONCE = 64


def load(
    name: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
) -> "Tokenizer":
    """Load a tokenizer.

    Args:
        name: a shipped name (`tiny`), a bundle or model directory, or a Hugging Face Hub id.
        device: `cpu`, `cuda` or `cuda:N`; where the encoders run.
        threads: threads of the encoders on a CPU, part of the numerics profile; by default the
            processors this process may use.
        revision: branch, tag or commit of a Hub id.

    Raises:
        BundleError: it is not there, not whole, of another version, or holds a pickle.
        ConfigError: no such device.

    >>> load("tiny").vocabulary.num_codes("image")
    1024
    """
    bundle = Bundle.open(find_bundle(name, revision=revision))
    profile = NumericsProfile.current(device=device, threads=threads)
    return Tokenizer.from_bundle(bundle, device=device, profile=profile)


class Tokenizer:
    """Turns rows of text, pictures and speech into ids of one shared vocabulary.

    A row is one `dvse.Text`, `dvse.Image` or `dvse.Audio`, or a list of them. The ids of a row
    depend on its bytes, the bundle and the numerics profile, on nothing else: not on the other
    rows, nor on how many there are.

    Attributes:
        name, fingerprint: of the bundle.
        vocabulary: which id means what.
        grammar: which id may follow which.
        profile: device kind, dtype, threads and versions under which the encoders compute.
        preparer: the picklable half, for decode workers.

    >>> tokenizer = load("tiny")
    >>> tokenizer.decode(tokenizer.encode(Text("Ein Satz. 一句话。")).ids)
    [TextSegment(text='Ein Satz. 一句话。', modality='text')]
    """

    def __init__(
        self,
        *,
        text: TextTokenizer,
        image: MediaTokenizer | None,
        audio: MediaTokenizer | None,
        vocabulary: Vocabulary,
        profile: NumericsProfile,
        name: str,
        fingerprint: str,
        sections: Mapping[str, Section],
        card: str = "",
    ) -> None:
        self.name, self.fingerprint, self.card = name, fingerprint, card
        self.text, self.image, self.audio = text, image, audio
        self.vocabulary, self.profile, self.sections = vocabulary, profile, sections
        for modality, media in (("image", image), ("audio", audio)):
            _check_fits(vocabulary, modality, media)
        self.grammar = Grammar(
            vocabulary=vocabulary,
            fixed_grid=getattr(image, "fixed_grid", None),
            max_image_codes=getattr(image, "max_positions", 1),
        )
        self.preparer = Preparers(
            image=None if image is None else image.preparer,
            audio=None if audio is None else audio.preparer,
        )

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, device: str = "cpu", profile: NumericsProfile | None = None
    ) -> "Tokenizer":
        """Build the tokenizers of an opened bundle on a device.

        Raises:
            BundleFormatError: a spec that its modality cannot read.
        """
        media: dict[str, MediaTokenizer | None] = {"image": None, "audio": None}
        if "image" in bundle.sections:
            from dvse.image.tokenizer import ImageTokenizer

            spec = bundle.sections["image"].spec
            media["image"] = ImageTokenizer.from_spec(spec, bundle.folder / "image", device=device)
        if "audio" in bundle.sections:
            from dvse.audio.tokenizer import AudioTokenizer

            spec = bundle.sections["audio"].spec
            media["audio"] = AudioTokenizer.from_spec(spec, bundle.folder / "audio", device=device)
        return cls(
            text=load_text_tokenizer(bundle.sections["text"].spec, bundle.folder / "text"),
            image=media["image"],
            audio=media["audio"],
            vocabulary=bundle.vocabulary,
            profile=profile or NumericsProfile.current(device=device),
            name=bundle.name,
            fingerprint=bundle.fingerprint,
            sections=bundle.sections,
            card=bundle.card,
        )

    def __call__(
        self,
        rows: Sequence[Row],
        *,
        padding: Literal["longest", "max_length"] = "longest",
        padding_side: PaddingSide = "right",
        max_length: int | None = None,
        truncation: bool = False,
    ) -> TokenBatch:
        """Return `input_ids`, `attention_mask` and `modality_ids`, each [B, T].

        Args:
            rows: B rows; each an item or a list of items.
            padding, padding_side, max_length, truncation: see `dvse.batch.collate`.

        Raises:
            InputError: a row cannot be tokenised; the message begins with its number.
            ItemTypeError: a bare string where `dvse.Text("…")` or `dvse.Image("…")` was meant.
        """
        if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
            rows = [as_sequence(rows)]  # type: ignore[arg-type]  # one item stands for one row
        encodings = []
        for number, result in enumerate(self.encode_many(rows)):
            if isinstance(result, InputError):
                result.args = (f"row {number}: {result}",)
                raise result
            encodings.append(result)
        return collate(
            encodings,
            pad_id=self.pad_id,
            padding=padding,
            padding_side=padding_side,
            max_length=max_length,
            truncation=truncation,
        )

    @property
    def pad_id(self) -> int:
        """The id that fills up short rows, `<|endoftext|>`."""
        return self.vocabulary.special_tokens[END_OF_TEXT]

    def encode(self, row: Row) -> Encoding:
        """Return the tokens of one row.

        Raises:
            InputError: it cannot be tokenised.
        """
        (result,) = self.encode_many([row])
        if isinstance(result, InputError):
            raise result
        return result

    def encode_many(self, rows: Iterable[Row]) -> Iterator[Encoding | InputError]:
        """Yield for each row, in order, its `Encoding` or the error that it cost.

        Rows are read as they are needed and encoded several at a time; memory stays bounded
        however many rows there are and however long a recording is.
        """
        waiting: deque[_Pending] = deque()
        buffer: list[tuple[_Pending, Chunk]] = []
        for row in rows:
            pending = _Pending()
            waiting.append(pending)
            try:
                for chunk in self.preparer.chunks(as_sequence(row)):
                    buffer.append((pending, chunk))
                    if len(buffer) >= _CHUNKS_AT_ONCE:
                        self._flush(buffer)
            except InputError as error:
                pending.error = error
                buffer = [(p, c) for p, c in buffer if p is not pending]
            if not buffer or len(waiting) >= _CHUNKS_AT_ONCE:
                self._flush(buffer)
                while waiting:
                    yield self._finish(waiting.popleft())
        self._flush(buffer)
        while waiting:
            yield self._finish(waiting.popleft())

    def encode_chunks(self, chunks: Sequence[Chunk]) -> list[EncodedChunk]:
        """Return the codes of chunks of any rows, in order.

        Computes under `profile`; grouping by shape happens here, and never changes a code.

        Raises:
            DecodeError: a text that UTF-8 cannot hold.
        """
        codes: list[np.ndarray | None] = [None] * len(chunks)
        for modality, media in (("image", self.image), ("audio", self.audio)):
            mine = [i for i, c in enumerate(chunks) if c.modality == modality]
            if mine:
                assert media is not None
                with self.profile.pinned():
                    found = media.encode([chunks[i] for i in mine])
                for i, code in zip(mine, found, strict=True):
                    codes[i] = code
        for i, chunk in enumerate(chunks):
            if chunk.modality == "text":
                codes[i] = self.text.encode(chunk.data)  # type: ignore[arg-type]
            elif chunk.modality == "special":
                codes[i] = np.array([self.special_id(str(chunk.data))], dtype=np.int32)
        return [
            EncodedChunk(
                modality=chunk.modality,
                part=chunk.part,
                codes=code,  # type: ignore[arg-type]
                grid=chunk.grid,
                duration_s=chunk.duration_s,
            )
            for chunk, code in zip(chunks, codes, strict=True)
        ]

    def assemble(self, encoded: Sequence[EncodedChunk]) -> Encoding:
        """Put the encoded chunks of one row together into its ids."""
        runs: list[np.ndarray] = []
        modality_ids: list[np.ndarray] = []
        spans: list[Span] = []
        start = 0
        for _, group in groupby(encoded, key=lambda chunk: chunk.part):
            ids, span = self._item_ids(list(group), start)
            runs.append(ids)
            modality_ids.append(np.full(len(ids), _MODALITY_IDS[span.modality], dtype=np.int8))
            spans.append(span)
            start = span.stop
        media = {s.modality for s in spans} & {"image", "audio"}
        levels = self.vocabulary.num_levels(media.pop()) if len(media) == 1 else 1
        return Encoding(
            ids=np.concatenate(runs) if runs else np.zeros(0, np.int64),
            modality_ids=np.concatenate(modality_ids) if runs else np.zeros(0, np.int8),
            spans=tuple(spans),
            num_levels=levels,
        )

    def decode(self, ids: Any, *, render: bool = True) -> list[Segment]:
        """Return what a row of ids says: text, picture grids, recording units, special tokens.

        Args:
            ids: `[T]` list, array or tensor; `<|endoftext|>` (padding) is left out.
            render: rebuild the pixels of pictures where the bundle has a pixel decoder.

        Raises:
            IdRangeError: an id that the vocabulary does not have.
            GrammarError: ids that form no stream, such as half a picture.
        """
        array = _as_row(ids)
        array = array[self.vocabulary.check_ids(array) != self.pad_id]
        self.grammar.check(array)
        kinds = self.vocabulary.kinds(array)
        names = {i: name for name, i in self.vocabulary.special_tokens.items()}
        segments: list[Segment] = []
        at = 0
        while at < len(array):
            if kinds[at] == 0:
                stop = at + _run_length(kinds[at:], 0)
                segments.append(TextSegment(text=self.text.decode(array[at:stop])))
            elif (name := names.get(int(array[at]))) in (BEGIN_OF_IMAGE, BEGIN_OF_AUDIO):
                modality = "image" if name == BEGIN_OF_IMAGE else "audio"
                end = self.special_id(_BRACKETS[modality][1])
                stop = at + 1 + int(np.argmax(array[at + 1 :] == end)) + 1
                segments.append(self._media_segment(modality, array[at + 1 : stop - 1], render))
            else:
                stop = at + 1
                segments.append(
                    SpecialSegment(name=name or self.vocabulary.name_of(int(array[at])))
                )
            at = stop
        return segments

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        *,
        add_generation_prompt: bool = True,
        enable_thinking: bool = False,
        **collate_options: Any,
    ) -> TokenBatch:
        """Return the ids of one conversation (or a list of them) in GLM's chat format.

        Args:
            messages: OpenAI-style messages, see `dvse.chat.render`.
            add_generation_prompt: end with `<|assistant|>`, ready for an answer.
            enable_thinking: leave room for `<think>`; otherwise it is closed in the prompt.
            **collate_options: as for calling the tokenizer.

        Raises:
            InputError: a part that cannot be read; messages of another form.
        """
        from dvse.chat import render

        single = not messages or isinstance(messages[0], Mapping)
        conversations = [messages] if single else messages
        rows = [
            render(
                conversation,  # type: ignore[arg-type]
                add_generation_prompt=add_generation_prompt,
                enable_thinking=enable_thinking,
            ).items
            for conversation in conversations
        ]
        return self(rows, **collate_options)

    def special_id(self, name: str) -> int:
        """Return the id of a special token.

        Raises:
            IdRangeError: the vocabulary has no such token.
        """
        try:
            return self.vocabulary.special_tokens[name]
        except KeyError:
            raise IdRangeError(
                f"expected a special token of the vocabulary, received {name!r}"
            ) from None

    def name_of(self, token_id: int) -> str:
        """Return how an id is printed: the text piece, `<|image_17|>`, or the special's name."""
        text = int(token_id) < self.vocabulary.text_size
        return self.vocabulary.name_of(token_id, piece=self.text.piece(token_id) if text else None)

    def save(self, folder: str | Path) -> Path:
        """Write the bundle to a directory and return it.

        Raises:
            ConfigError: the directory holds something else already.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / "dvse.json").is_file():
            raise ConfigError(f"{folder}: expected an empty directory or a bundle to write to")
        for modality, part in (("text", self.text), ("image", self.image), ("audio", self.audio)):
            if part is not None:
                (folder / modality).mkdir(parents=True, exist_ok=True)
                part.save_files(folder / modality)
        write_bundle(
            folder,
            name=self.name,
            vocabulary=self.vocabulary,
            sections=self.sections,
            card=self.card,
        )
        return folder

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the bundle to the Hugging Face Hub and return the commit's address.

        Args:
            repo_id: `owner/name`; made if it is missing.
            **options: for `huggingface_hub.HfApi.upload_folder` (token, revision, …).
        """
        from tempfile import TemporaryDirectory

        from huggingface_hub import HfApi

        api = HfApi(token=options.pop("token", None))
        api.create_repo(repo_id, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save(folder)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **options))

    def __repr__(self) -> str:
        return (
            f"Tokenizer({self.name!r}, {self.vocabulary.text_size} text pieces, "
            f"{self.vocabulary.num_codes('image')} image codes, "
            f"{self.vocabulary.num_codes('audio')} audio codes, on {self.profile.device})"
        )

    def _flush(self, buffer: list[tuple["_Pending", Chunk]]) -> None:
        if not buffer:
            return
        try:
            encoded = self.encode_chunks([chunk for _, chunk in buffer])
        except InputError:
            # Text is only checked while encoding: find the row that is to blame.
            encoded = []
            for pending, chunk in buffer:
                try:
                    encoded += self.encode_chunks([chunk])
                except InputError as error:
                    pending.error = error
                    encoded.append(None)  # type: ignore[arg-type]
        for (pending, _), chunk in zip(buffer, encoded, strict=True):
            pending.encoded.append(chunk)
        buffer.clear()

    def _finish(self, pending: "_Pending") -> Encoding | InputError:
        return pending.error or self.assemble(pending.encoded)

    def _item_ids(self, chunks: list[EncodedChunk], start: int) -> tuple[np.ndarray, Span]:
        modality = chunks[0].modality
        codes = np.concatenate([c.codes for c in chunks])
        if modality in ("text", "special"):
            stop = start + len(codes)
            return codes.astype(np.int64), Span(modality=modality, start=start, stop=stop)
        durations = frame_rate_hz = duration_s = None
        size: list[int] = []
        if modality == "audio":
            assert self.audio is not None
            codes, durations = self.audio.merge(codes)  # type: ignore[attr-defined]
            frame_rate_hz = self.audio.frame_rate_hz  # type: ignore[attr-defined]
            duration_s = sum(c.duration_s or 0.0 for c in chunks)
        elif self.grammar.fixed_grid is None:
            assert chunks[0].grid is not None
            size = [self.special_id(grid_token(side)) for side in chunks[0].grid]
        ids = np.stack(
            [
                self.vocabulary.code_ids(modality, codes[:, level], level=level)
                for level in range(codes.shape[1])
            ],
            axis=1,
        ).reshape(-1)
        begin, end = (self.special_id(name) for name in _BRACKETS[modality])
        ids = np.concatenate([[begin], size, ids, [end]]).astype(np.int64)
        span = Span(
            modality=modality,
            start=start,
            stop=start + len(ids),
            grid=chunks[0].grid,
            duration_s=duration_s,
            frame_rate_hz=frame_rate_hz,
            durations=durations,
        )
        return ids, span

    def _media_segment(self, modality: str, inner: np.ndarray, render: bool) -> Segment:
        grid = self.grammar.fixed_grid
        if modality == "image" and grid is None:
            sides = {self.special_id(grid_token(n)): n for n in range(1, 129)}
            grid = sides[int(inner[0])], sides[int(inner[1])]
            inner = inner[2:]
        codes, _ = self.vocabulary.codes_of(modality, inner)
        codes = codes.reshape(-1, self.vocabulary.num_levels(modality)).astype(np.int32)
        if modality == "audio":
            rate = self.audio.frame_rate_hz if self.audio else 0.0  # type: ignore[attr-defined]
            return AudioSegment(units=codes, frame_rate_hz=rate)
        assert grid is not None
        pixels = None
        if render and self.image is not None:
            with self.profile.pinned():
                pixels = self.image.decode(codes, grid)  # type: ignore[attr-defined]
        return ImageSegment(codes=codes.reshape(*grid, -1), pixels=pixels)


class _Pending:
    """A row that waits for its chunks to be encoded."""

    def __init__(self) -> None:
        self.encoded: list[EncodedChunk] = []
        self.error: InputError | None = None


def _check_fits(vocabulary: Vocabulary, modality: str, media: MediaTokenizer | None) -> None:
    expected = vocabulary.num_codes(modality), vocabulary.num_levels(modality)
    found = (media.num_codes, media.num_levels) if media is not None else (0, 0)
    if expected != found and media is not None:
        raise ConfigError(
            f"{modality}: the vocabulary has {expected[1]} levels of {expected[0]} codes, the "
            f"tokenizer {found[1]} of {found[0]}; build the bundle again"
        )


def _run_length(values: np.ndarray, value: int) -> int:
    other = np.flatnonzero(values != value)
    return int(other[0]) if other.size else len(values)


def _as_row(ids: Any) -> np.ndarray:
    array = np.asarray(ids.cpu() if hasattr(ids, "cpu") else ids)
    if array.ndim != 1:
        raise IdRangeError(f"expected one row of ids [T], received shape {list(array.shape)}")
    return array
