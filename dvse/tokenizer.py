"""The front door: `dvse.load` and `Tokenizer`, items in, ids out, and back.

    items ─ preparers ─► chunks ─ encode_chunks ─► codes ─ assemble ─► ids

It knows the order of the steps and nothing of how a picture or a recording is read or encoded.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from dvse.batch import PaddingSide, TokenBatch, collate
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
from dvse.errors import BundleFormatError, IdRangeError, InputError
from dvse.grammar import Grammar
from dvse.items import Item, as_sequence
from dvse.media_tokenizer import MediaTokenizer
from dvse.numerics import NumericsProfile, use_threads
from dvse.preparers import Preparers
from dvse.special_tokens import (
    BEGIN_OF_AUDIO,
    BEGIN_OF_IMAGE,
    END_OF_AUDIO,
    END_OF_IMAGE,
    END_OF_TEXT,
    grid_token,
)
from dvse.storage.bundle import Bundle, Section, install_bundle, write_bundle
from dvse.storage.finding import find_bundle
from dvse.text.loading import load_text_tokenizer
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer
    from dvse.image.tokenizer import ImageTokenizer

Row: TypeAlias = Item | Sequence[Item]

_MODALITY_IDS = {"text": 0, "special": 0, "image": 1, "audio": 2}
_BRACKETS = {"image": (BEGIN_OF_IMAGE, END_OF_IMAGE), "audio": (BEGIN_OF_AUDIO, END_OF_AUDIO)}
_MEDIA_AT_ONCE = 64  # pictures and windows of recordings, a few full forward passes
_CHUNKS_AT_ONCE = 1024  # of any kind; text and special tokens are encoded one by one anyway


def load(
    name: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> "Tokenizer":
    """Load a tokenizer.

    Args:
        name: a shipped name (`tiny`), a bundle or model directory, or a Hugging Face Hub id.
        device: `cpu`, `cuda` or `cuda:N`; where the encoders run.
        threads: threads of the encoders on a CPU, part of the numerics profile; by default the
            processors this process may use.
        revision, token: branch, tag or commit of a Hub id, and the right to read it.

    Raises:
        BundleError: it is not there, not whole, of another version, or holds a pickle.
        ConfigError: no such device.

    >>> load("tiny").vocabulary.num_codes("image")
    1024
    """
    bundle = Bundle.open(find_bundle(name, revision=revision, token=token))
    profile = NumericsProfile.current(device=device, threads=threads)
    # Loading is hundreds of tiny operations: waking more threads for each takes ten times as long.
    with use_threads(1):
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

    >>> from dvse import Text
    >>> tokenizer = load("tiny")
    >>> tokenizer.decode(tokenizer.encode(Text("Ein Satz. 一句话。")).ids)
    [TextSegment(text='Ein Satz. 一句话。', modality='text')]
    """

    def __init__(
        self,
        *,
        text: TextTokenizer,
        image: "ImageTokenizer | None",
        audio: "AudioTokenizer | None",
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
            _check_codebook(vocabulary, modality, media)
        self.grammar = Grammar(
            vocabulary=vocabulary,
            fixed_grid=image.fixed_grid if image else None,
            max_image_codes=image.max_positions if image else 1,
        )
        self.preparer = Preparers(
            image=image.preparer if image else None,
            audio=audio.preparer if audio else None,
            special_tokens=frozenset(vocabulary.special_tokens),
        )

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, device: str = "cpu", profile: NumericsProfile | None = None
    ) -> "Tokenizer":
        """Build the tokenizers of an opened bundle on a device.

        Raises:
            BundleFormatError: a spec that its modality cannot read, or a codebook of another size
                than the vocabulary's block.
        """
        specs = {modality: section.spec for modality, section in bundle.sections.items()}
        image = audio = None
        if "image" in specs:
            from dvse.image.tokenizer import ImageTokenizer

            image = ImageTokenizer.from_spec(specs["image"], bundle.folder / "image", device=device)
        if "audio" in specs:
            from dvse.audio.tokenizer import AudioTokenizer

            audio = AudioTokenizer.from_spec(specs["audio"], bundle.folder / "audio", device=device)
        return cls(
            text=load_text_tokenizer(specs["text"], bundle.folder / "text"),
            image=image,
            audio=audio,
            vocabulary=bundle.vocabulary,
            profile=profile or NumericsProfile.current(device=device),
            name=bundle.name,
            fingerprint=bundle.fingerprint,
            sections=bundle.sections,
            card=bundle.card,
        )

    def __call__(
        self,
        rows: Item | Sequence[Row],
        *,
        padding: Literal["longest", "max_length"] = "longest",
        padding_side: PaddingSide = "right",
        max_length: int | None = None,
        truncation: bool = False,
    ) -> TokenBatch:
        """Return `input_ids`, `attention_mask` and `modality_ids`, each [B, T].

        Args:
            rows: B rows, each an item or a list of items; an item alone is one row.
            padding, padding_side, max_length, truncation: see `dvse.batch.collate`.

        Raises:
            InputError: a row cannot be tokenised; the message begins with its number.
            ItemTypeError: a bare string where `dvse.Text("…")` or `dvse.Image("…")` was meant.
        """
        if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
            rows = [as_sequence(rows)]  # one item stands for one row
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
        num_media = 0
        for row in rows:
            pending = _Pending()
            waiting.append(pending)
            try:
                for chunk in self.preparer.chunks(as_sequence(row)):
                    buffer.append((pending, chunk))
                    num_media += chunk.modality in _BRACKETS
                    if num_media >= _MEDIA_AT_ONCE or len(buffer) >= _CHUNKS_AT_ONCE:
                        self._flush(buffer)
                        num_media = 0
            except InputError as error:
                pending.error = error
                buffer = [(p, c) for p, c in buffer if p is not pending]
                num_media = sum(c.modality in _BRACKETS for _, c in buffer)
            if not buffer or len(waiting) >= _MEDIA_AT_ONCE:
                self._flush(buffer)
                num_media = 0
                while waiting:
                    yield self._finish(waiting.popleft())
        self._flush(buffer)
        while waiting:
            yield self._finish(waiting.popleft())

    def encode_chunks(self, chunks: Sequence[Chunk]) -> list[EncodedChunk]:
        """Return the codes of chunks of any rows, in order.

        Computes under `profile`. What comes together is a matter of speed and never changes a
        code. Chunks that `preparer` made raise no error.
        """
        codes: dict[int, np.ndarray] = {}
        for modality, media in (("image", self.image), ("audio", self.audio)):
            mine = [i for i, chunk in enumerate(chunks) if chunk.modality == modality]
            if mine:
                assert media is not None
                with self.profile.pinned():
                    found = media.encode([chunks[i] for i in mine])
                codes.update(zip(mine, found, strict=True))
        for i, chunk in enumerate(chunks):
            if chunk.modality == "text":
                codes[i] = self.text.encode(str(chunk.data))
            elif chunk.modality == "special":
                codes[i] = np.array([self.special_id(str(chunk.data))], dtype=np.int32)
        return [
            EncodedChunk(
                modality=chunk.modality,
                part=chunk.part,
                codes=codes[i],
                grid=chunk.grid,
                duration_s=chunk.duration_s,
            )
            for i, chunk in enumerate(chunks)
        ]

    def batch_rows(self, chunk: Chunk) -> int:
        """Return how many chunks of this shape a forward pass takes; fewer are filled up to it."""
        if chunk.modality == "image" and self.image is not None:
            return self.image.batch_rows(chunk.shape)
        if chunk.modality == "audio" and self.audio is not None:
            return self.audio.batch_rows(len(chunk.data))
        return 1

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
            ids: `[T]` list, array or tensor; `<|endoftext|>` at either end is padding and left
                out, between documents it is a special token.
            render: rebuild the pixels of pictures where the bundle has a pixel decoder.

        Raises:
            IdRangeError: an id that the vocabulary does not have.
            GrammarError: ids that form no stream, such as half a picture.
        """
        array = _as_row(self.vocabulary, ids)
        filled = np.flatnonzero(array != self.pad_id)
        array = array[filled[0] : filled[-1] + 1] if filled.size else array[:0]
        self.grammar.check(array)
        kinds = self.vocabulary.kinds(array)
        opened = {self.special_id(begin): m for m, (begin, _) in _BRACKETS.items()}
        segments: list[Segment] = []
        at = 0
        while at < len(array):
            if kinds[at] == 0:
                stop = at + _first(kinds[at:] != 0)
                segments.append(TextSegment(text=self.text.decode(array[at:stop])))
            elif modality := opened.get(int(array[at])):
                end = self.special_id(_BRACKETS[modality][1])
                stop = at + _first(array[at:] == end) + 1
                segments.append(self._media_segment(modality, array[at + 1 : stop - 1], render))
            else:
                stop = at + 1
                segments.append(SpecialSegment(name=self.vocabulary.name_of(array[at])))
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
        token_id = int(self.vocabulary.check_ids(token_id))
        is_text = token_id < self.text.size
        return self.vocabulary.name_of(
            token_id, piece=self.text.piece(token_id) if is_text else None
        )

    def save(self, folder: str | Path) -> Path:
        """Write the bundle to a directory, in place of a bundle that lies there, and return it.

        Raises:
            ConfigError: the directory holds something else already.
        """
        parts = {"text": self.text, "image": self.image, "audio": self.audio}
        with TemporaryDirectory() as temporary:
            draft = Path(temporary)
            for modality, part in parts.items():
                if part is not None:
                    (draft / modality).mkdir()
                    part.save_files(draft / modality)
            write_bundle(
                draft,
                name=self.name,
                vocabulary=self.vocabulary,
                sections=self.sections,
                card=self.card,
            )
            return install_bundle(draft, Path(folder))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the bundle to the Hugging Face Hub and return the commit's address.

        Args:
            repo_id: `owner/name`; made if it is missing.
            **options: `token`, `private` (for a new repository), and what
                `huggingface_hub.HfApi.upload_folder` takes (`revision`, `commit_message`, …).
        """
        from huggingface_hub import HfApi

        api = HfApi(token=options.pop("token", None))
        api.create_repo(repo_id, private=options.pop("private", None), exist_ok=True)
        # A file that an older bundle left behind would make the new one invalid.
        options.setdefault("delete_patterns", ["text/*", "image/*", "audio/*"])
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
        encoded = self.encode_chunks([chunk for _, chunk in buffer])
        for (pending, _), one in zip(buffer, encoded, strict=True):
            pending.encoded.append(one)
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
            codes, durations = self.audio.merge(codes)
            frame_rate_hz = self.audio.frame_rate_hz
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
            grid = self.grammar.side_of(inner[0]), self.grammar.side_of(inner[1])
            inner = inner[2:]
        codes, _ = self.vocabulary.codes_of(modality, inner)
        codes = codes.reshape(-1, self.vocabulary.num_levels(modality)).astype(np.int32)
        if modality == "audio":
            assert self.audio is not None
            return AudioSegment(units=codes, frame_rate_hz=self.audio.frame_rate_hz)
        assert grid is not None
        pixels = None
        if render and self.image is not None and self.image.decoder is not None:
            with self.profile.pinned():
                pixels = self.image.decode(codes, grid)
        return ImageSegment(codes=codes.reshape(*grid, -1), pixels=pixels)


class _Pending:
    """A row that waits for its chunks to be encoded."""

    def __init__(self) -> None:
        self.encoded: list[EncodedChunk] = []
        self.error: InputError | None = None


def _check_codebook(vocabulary: Vocabulary, modality: str, media: MediaTokenizer | None) -> None:
    expected = vocabulary.num_levels(modality), vocabulary.num_codes(modality)
    found = (media.num_levels, media.num_codes) if media else (0, 0)
    if expected != found:
        raise BundleFormatError(
            f"{modality}: the vocabulary has {expected[0]} levels of {expected[1]} codes, the "
            f"codebook {found[0]} of {found[1]}; build the bundle again"
        )


def _first(flags: np.ndarray) -> int:
    """Position of the first true flag, or the length."""
    return int(flags.argmax()) if flags.any() else len(flags)


def _as_row(vocabulary: Vocabulary, ids: Any) -> np.ndarray:
    row = vocabulary.check_ids(ids.numpy(force=True) if isinstance(ids, torch.Tensor) else ids)
    if row.ndim != 1:
        raise IdRangeError(
            f"expected one row of ids [T], received shape {list(row.shape)}; decode row by row"
        )
    return row
