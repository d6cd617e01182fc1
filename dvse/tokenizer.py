"""The front door: `dvse.load` and `Tokenizer`, items in, ids out, and back.

    items ─ preparers ─► chunks ─ encode_chunks ─► codes ─ assemble ─► ids

It knows the order of the steps and nothing of how a picture or a recording is read or encoded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from dvse.audio_id_stream import AudioIdStream, streamed_ids
from dvse.chunk import Chunk, EncodedChunk
from dvse.encoding import Encoding, Segment
from dvse.errors import ConfigError, InputError
from dvse.grammar import Grammar
from dvse.items import Item, as_sequence, row_name
from dvse.media_loading import load_media
from dvse.numerics import NumericsProfile
from dvse.onnx_numerics import profile_of
from dvse.origin import Origin
from dvse.precision import Precision
from dvse.preparers import Preparers
from dvse.row_encoding import encode_rows
from dvse.storage.bundle import Bundle, Section, install_bundle, write_bundle
from dvse.storage.finding import find_bundle
from dvse.storage.hub_upload import upload_bundle
from dvse.stream import TokenStream
from dvse.text.loading import load_text_tokenizer
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer
    from dvse.batch import PaddingSide, TokenBatch
    from dvse.image.tokenizer import ImageTokenizer

Row: TypeAlias = Item | Sequence[Item]


def load(
    name: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: Precision = "float32",
    batch_tokens: int | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> "Tokenizer":
    """Load a tokenizer.

    Args:
        name: a shipped name (`tiny`), a bundle or model directory, or a Hugging Face Hub id.
        device: `cpu`, `cuda` or `cuda:N`; where the encoders run.
        threads, precision, batch_tokens: of the encoders, part of the numerics profile; by default
            the processors this process may use (on a CPU), fp32, see `dvse.precision`, and what the
            kind of device suggests, see `dvse.token_budget`.
        revision, token: branch, tag or commit of a Hub id, and the right to read it.

    Raises:
        BundleError: it is not there, not whole, of another version, or holds a pickle.
        ConfigError: no such device, a precision that it cannot compute, or a budget of tokens that
            holds nothing.

    >>> load("tiny").vocabulary.num_codes("image")
    4096
    """
    bundle = Bundle.open(find_bundle(name, revision=revision, token=token))
    profile = profile_of(bundle.sections).current(
        device=device, threads=threads, precision=precision, batch_tokens=batch_tokens
    )
    with profile.loading():
        return Tokenizer.from_bundle(bundle, device=device, profile=profile)


def load_again(origin: Origin) -> "Tokenizer":
    """Load the tokenizer that was pickled.

    Raises:
        BundleError: it is not there any more, or another one is.
    """
    tokenizer = load(origin.source, **origin.how())
    origin.check(tokenizer.fingerprint)
    return tokenizer


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
        preparer: the half for decode workers, without weights.
        origin: where it came from: all that a pickle of one that was loaded holds.

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
        origin: Origin | None = None,
    ) -> None:
        self.name, self.fingerprint, self.card = name, fingerprint, card
        self.origin = origin
        self.text, self.image, self.audio = text, image, audio
        self.vocabulary, self.profile, self.sections = vocabulary, profile, sections
        for modality, media in (("image", image), ("audio", audio)):
            levels, codes = (media.num_levels, media.num_codes) if media else (0, 0)
            vocabulary.check_codebook(modality, num_levels=levels, num_codes=codes)
        self.grammar = Grammar(
            vocabulary=vocabulary,
            fixed_grid=image.fixed_grid if image else None,
            max_image_codes=image.max_positions if image else 1,
        )
        self._stream = TokenStream(
            vocabulary=vocabulary,
            grammar=self.grammar,
            text=text,
            image=image,
            audio=audio,
            profile=profile,
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
        """Build the tokenizers of an opened bundle on a device, under a profile.

        Raises:
            ConfigError: a token budget of the profile that holds nothing.
            BundleFormatError: a spec that its modality cannot read, or a codebook of another size
                than the vocabulary's block.
        """
        profile = profile or profile_of(bundle.sections).current(device=device)
        media = load_media(bundle, device=device, profile=profile)
        return cls(
            text=load_text_tokenizer(bundle.sections["text"].spec, bundle.folder / "text"),
            image=media.image,
            audio=media.audio,
            vocabulary=bundle.vocabulary,
            profile=profile,
            name=bundle.name,
            fingerprint=bundle.fingerprint,
            sections=bundle.sections,
            card=bundle.card,
            origin=Origin.of(bundle, device=device, profile=profile),
        )

    def __call__(
        self,
        rows: Item | Sequence[Row],
        *,
        padding: Literal["longest", "max_length"] = "longest",
        padding_side: "PaddingSide" = "right",
        max_length: int | None = None,
        truncation: bool = False,
    ) -> "TokenBatch":
        """Return `input_ids`, `attention_mask` and `modality_ids`, each [B, T].

        Args:
            rows: B rows, each an item or a list of items; an item alone is one row.
            padding, padding_side, max_length, truncation: see `dvse.batch.collate`.

        Raises:
            InputError: a row cannot be tokenised; the message begins with its number.
            ItemTypeError: a bare string where `dvse.Text("…")` or `dvse.Image("…")` was meant.
        """
        from dvse.batch import collate

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
            pad_id=self.vocabulary.pad_id,
            padding=padding,
            padding_side=padding_side,
            max_length=max_length,
            truncation=truncation,
        )

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
        return encode_rows(
            rows,
            chunks_of=lambda row: self.preparer.chunks(as_sequence(row)),
            encode=self.encode_chunks,
            assemble=self.assemble,
            name_of=row_name,
            batch_rows=self.batch_rows,
        )

    def encode_chunks(self, chunks: Sequence[Chunk]) -> list[EncodedChunk]:
        """Return the codes of chunks of any rows, in order, computed under `profile`.

        What comes together never changes a code. `FeatureOverflowError` is all that can happen.
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
                codes[i] = np.array([self.vocabulary.special_id(str(chunk.data))], dtype=np.int32)
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
        media = {"image": self.image, "audio": self.audio}.get(chunk.modality)
        return 1 if media is None else media.batch_rows(chunk.shape)

    def assemble(self, encoded: Sequence[EncodedChunk]) -> Encoding:
        """Put the encoded chunks of one row together into its ids."""
        return self._stream.assemble(encoded)

    def decode(self, ids: Any, *, render: bool = True) -> list[Segment]:
        """Return what a row of ids says: text, picture grids, recording units, special tokens.

        Args:
            ids: `[T]` list, array or tensor; `<|endoftext|>` at either end is padding and left
                out, between documents it is a special token.
            render: rebuild pixels and sound where the bundle has a way back.

        Raises:
            IdRangeError: an id that the vocabulary does not have.
            GrammarError: ids that form no stream, such as half a picture.
        """
        return self._stream.decode(ids, render=render)

    def audio_stream(self, sample_rate_hz: int) -> AudioIdStream:
        """Return a stream that takes sound as it is made and gives ids as soon as they are final.

        Raises:
            InputError: the bundle has no audio tokenizer, or one that cannot be streamed.
        """
        if self.audio is None:
            raise InputError("this bundle has no audio tokenizer; load one that has")
        return AudioIdStream(self.audio, self.vocabulary, self.profile, sample_rate_hz)

    def stream(self, pieces: Iterable[Any], *, sample_rate_hz: int) -> Iterator[np.ndarray]:
        """Yield the ids `int64 [n]` of one recording as they become final.

        Args:
            pieces: arrays `[samples]` or `[samples, channels]` of any length, in order.
            sample_rate_hz: of all of them.

        Raises:
            InputError: see `AudioIdStream`; together the ids are those of the whole recording.
        """
        return streamed_ids(self.audio_stream(sample_rate_hz), pieces)

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        *,
        add_generation_prompt: bool = True,
        enable_thinking: bool = False,
        **collate_options: Any,
    ) -> "TokenBatch":
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

    def name_of(self, token_id: int) -> str:
        """Return how an id is printed: the text piece, `<|image_17|>`, or the special's name."""
        token_id = int(self.vocabulary.check_ids(token_id))
        piece = self.text.piece(token_id) if token_id < self.text.size else None
        return self.vocabulary.name_of(token_id, piece=piece)

    def save(self, folder: str | Path) -> Path:
        """Write the bundle to a directory, in place of a bundle that lies there, and return it.

        Raises:
            ConfigError: the directory holds something else already, or the weights were rounded.
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
            **options: `token`, `private`, and what `HfApi.upload_folder` takes (`revision`, …).
        """
        return upload_bundle(self.save, repo_id, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            raise ConfigError("only a tokenizer that was loaded can be pickled; save it, load it")
        return load_again, (self.origin,)

    def __repr__(self) -> str:
        v = self.vocabulary
        codes = f"{v.num_codes('image')} image codes, {v.num_codes('audio')} audio codes"
        pieces = f"{v.text_size} text pieces"
        return f"Tokenizer({self.name!r}, {pieces}, {codes}, on {self.profile.device})"
