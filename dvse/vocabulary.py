"""The shared vocabulary: which id means what, for text, specials, pictures and speech.

    0 ─ text pieces ─┬─ 256 reserved specials ─┬─ image codes ─┬─ audio codes ─┬─ unused ─ size
                     (SentencePiece ids stay)    (a block a residual level)     (multiple of 128)

Blocks are only ever appended, so growing a vocabulary never moves an id. It alone converts codes
(local to one codebook) to ids (global) and back, and checks every range both ways. It knows no
media, no text pieces and no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from dvse.blocks import KINDS, NUM_RESERVED, Block, block_key, check_blocks, describe_block
from dvse.errors import BundleFormatError, IdRangeError, VocabularyError
from dvse.id_tables import IdTables
from dvse.special_tokens import END_OF_TEXT, GRID_TOKENS, NAMED_TOKENS, check_special_tokens

FORMAT_VERSION = 1
MULTIPLE = 128


class Vocabulary:
    """An append-only list of blocks and the ids of the special tokens.

    Args:
        blocks: contiguous from id 0, in order of ids.
        special_tokens: name → id; ids lie in the special block, or in the text block where the
            text tokenizer already defines the token.

    Raises:
        VocabularyError: gaps, overlaps, a level without its predecessor, a special outside the
            text and special blocks, or two specials on one id.

    >>> v = Vocabulary.create(text_size=1000, image=(1024, 1), audio=(200, 1))
    >>> v.image_ids([0, 1023]).tolist()
    [1256, 2279]
    >>> v.special_tokens["<|begin_of_image|>"], v.size
    (1009, 2560)
    >>> v.name_of(1273)
    '<|image_17|>'
    """

    def __init__(self, blocks: Sequence[Block], special_tokens: Mapping[str, int]) -> None:
        self.blocks = tuple(blocks)
        self.special_tokens = dict(special_tokens)
        check_blocks(self.blocks)
        check_special_tokens(self.special_tokens, limit=self.blocks[1].stop_id)

    @classmethod
    def create(
        cls,
        *,
        text_size: int,
        image: tuple[int, int] | None = None,
        audio: tuple[int, int] | None = None,
        text_specials: Mapping[str, int] | None = None,
    ) -> "Vocabulary":
        """Lay out a new vocabulary.

        Args:
            text_size: number of text ids (for a `tokenizer.json`, its highest id + 1).
            image, audio: `(num_codes, num_levels)` of the codebook, or `None`.
            text_specials: specials that the text tokenizer defines itself, with its ids; all
                of them stay specials, only missing ones take reserved ids.
        """
        known = dict(text_specials or {})
        missing = [name for name in (*NAMED_TOKENS, *GRID_TOKENS) if name not in known]
        specials = {name: text_size + i for i, name in enumerate(missing)}
        blocks = [
            Block(name="text", first_id=0, size=text_size),
            Block(name="special", first_id=text_size, size=NUM_RESERVED),
        ]
        vocabulary = cls(blocks, known | specials)
        for name, shape in (("image", image), ("audio", audio)):
            if shape is not None:
                vocabulary = vocabulary.grow(name, num_codes=shape[0], num_levels=shape[1])
        return vocabulary

    def grow(self, name: str, *, num_codes: int, num_levels: int = 1) -> "Vocabulary":
        """Return a vocabulary in which modality `name` has this codebook; no id moves.

        A new modality, more codes in each level, or more levels are appended behind what is there.

        Raises:
            VocabularyError: the codebook would shrink, or `name` is not `image` or `audio`.

        >>> v = Vocabulary.create(text_size=10, image=(4, 1))
        >>> v.grow("image", num_codes=6).image_ids([3, 4]).tolist()
        [269, 270]
        """
        if name not in ("image", "audio"):
            raise VocabularyError(f"expected to grow 'image' or 'audio', received {name!r}")
        if num_codes < max(1, self.num_codes(name)) or num_levels < max(1, self.num_levels(name)):
            raise VocabularyError(
                f"{name}: a codebook can only grow; it has {self.num_levels(name)} levels of "
                f"{self.num_codes(name)} codes, received {num_levels} of {num_codes}"
            )
        blocks = list(self.blocks)
        for level in range(num_levels):
            have = sum(b.size for b in self.blocks if (b.name, b.level) == (name, level))
            if have < num_codes:
                blocks.append(
                    Block(
                        name=name,
                        first_id=blocks[-1].stop_id,
                        size=num_codes - have,
                        level=level,
                        first_code=have,
                    )
                )
        return Vocabulary(blocks, self.special_tokens)

    @property
    def num_ids(self) -> int:
        """Number of ids that mean something."""
        return self.blocks[-1].stop_id

    @property
    def size(self) -> int:
        """Rows of the embedding: `num_ids` rounded up to a multiple of 128."""
        return -(-self.num_ids // MULTIPLE) * MULTIPLE

    @property
    def text_size(self) -> int:
        """Number of text ids, 0 … text_size-1."""
        return self.blocks[0].size

    @property
    def id_dtype(self) -> np.dtype:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.size <= 2**16 else np.uint32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def pad_id(self) -> int:
        """The id that fills up short rows, `<|endoftext|>`."""
        return self.special_tokens[END_OF_TEXT]

    def special_id(self, name: str) -> int:
        """Return the id of a special token.

        Raises:
            IdRangeError: the vocabulary has no such token.
        """
        try:
            return self.special_tokens[name]
        except KeyError:
            raise IdRangeError(
                f"expected a special token of the vocabulary, received {name!r}"
            ) from None

    def num_codes(self, name: str) -> int:
        """Codes in each level of `image` or `audio`; 0 where the modality is missing."""
        return sum(b.size for b in self.blocks if b.name == name and b.level == 0)

    def num_levels(self, name: str) -> int:
        """Residual levels of `image` or `audio`; 0 where the modality is missing."""
        return len({b.level for b in self.blocks if b.name == name})

    def check_codebook(self, name: str, *, num_levels: int, num_codes: int) -> None:
        """Check that there is a block for each level of a codebook, 0 of 0 where it is missing.

        Raises:
            BundleFormatError: the vocabulary has others.
        """
        expected = self.num_levels(name), self.num_codes(name)
        if expected != (num_levels, num_codes):
            raise BundleFormatError(
                f"{name}: the vocabulary has {expected[0]} levels of {expected[1]} codes, the "
                f"codebook {num_levels} of {num_codes}; build the bundle again"
            )

    def code_ids(self, name: str, codes: Any, *, level: int = 0) -> np.ndarray:
        """Return the ids `int64` (shape of `codes`) of codes of one level.

        Raises:
            IdRangeError: a code outside 0 … num_codes-1, or no such level.
        """
        table = self._tables.ids_by_code.get((name, level))
        if table is None:
            raise IdRangeError(
                f"this vocabulary has {self.num_levels(name)} {name} levels, received level {level}"
            )
        codes = _whole_numbers(codes, f"{name} codes")
        if codes.size and not (0 <= codes.min() and codes.max() < len(table)):
            raise IdRangeError(
                f"expected {name} codes in 0..{len(table) - 1}, received "
                f"{codes.min()}..{codes.max()}"
            )
        return table[codes]

    def image_ids(self, codes: Any, *, level: int = 0) -> np.ndarray:
        """Return the ids of picture codes of one level, see `code_ids`."""
        return self.code_ids("image", codes, level=level)

    def audio_ids(self, codes: Any, *, level: int = 0) -> np.ndarray:
        """Return the ids of speech codes of one level, see `code_ids`."""
        return self.code_ids("audio", codes, level=level)

    def codes_of(self, name: str, ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return `(codes, levels)`, both int64, of ids that all belong to one modality's blocks.

        Raises:
            IdRangeError: an id of another block.
        """
        ids = self.check_ids(ids)
        wrong = ids[self._tables.kinds[ids] != KINDS.index(name)]
        if wrong.size:
            raise IdRangeError(
                f"expected {name} ids, received {int(wrong.flat[0])} "
                f"({self.name_of(int(wrong.flat[0]))})"
            )
        return self._tables.codes[ids], self._tables.levels[ids]

    def check_ids(self, ids: Any) -> np.ndarray:
        """Return `ids` as int64 if every one of them is in 0 … num_ids-1.

        Raises:
            IdRangeError: an id outside, or ids that are no whole numbers.
        """
        ids = _whole_numbers(ids, "ids")
        if ids.size and not (0 <= ids.min() and ids.max() < self.num_ids):
            wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise IdRangeError(f"expected ids in 0..{self.num_ids - 1}, received {wrong}")
        return ids

    def kinds(self, ids: Any) -> np.ndarray:
        """Return for each id the index into `KINDS` (text, special, image, audio), int8.

        A special that the text tokenizer defines itself counts as special.
        """
        return self._tables.kinds[self.check_ids(ids)]

    def name_of(self, token_id: int, *, piece: str | None = None) -> str:
        """Return how an id is printed: `<|image_17|>`, `<|audio_l1_17|>`, a special's name.

        Text ids print as `piece` where it is given, else as `<text_17>`.
        """
        token_id = int(self.check_ids(token_id))
        if token_id in self._special_by_id:
            return self._special_by_id[token_id]
        block = next(b for b in self.blocks if b.first_id <= token_id < b.stop_id)
        offset = token_id - block.first_id + block.first_code
        if block.name == "text":
            return piece if piece is not None else f"<text_{offset}>"
        if block.name == "special":
            return f"<|reserved_{offset}|>"
        level = f"l{block.level}_" if block.level else ""
        return f"<|{block.name}_{level}{offset}|>"

    def diff(self, other: "Vocabulary") -> list[str]:
        """Return what has to change to get from this vocabulary to `other`, a line a difference.

        Empty means equal; lines that begin with `moved` or `removed` break old ids, lines that
        begin with `added` do not.

        >>> small = Vocabulary.create(text_size=10, image=(4, 1))
        >>> small.diff(small.grow("audio", num_codes=3))
        ['added: audio level 0 codes 0..2 at 270..272']
        """
        mine, theirs = ({block_key(b): b for b in v.blocks} for v in (self, other))
        lines = []
        for key, block in mine.items():
            if key not in theirs:
                lines.append(f"removed: {describe_block(block)}")
            elif theirs[key] != block:
                lines.append(f"moved: {describe_block(block)} to {describe_block(theirs[key])}")
        lines += [f"added: {describe_block(b)}" for key, b in theirs.items() if key not in mine]
        for name in sorted(self.special_tokens.keys() | other.special_tokens.keys()):
            old, new = self.special_tokens.get(name), other.special_tokens.get(name)
            if old is None:
                lines.append(f"added: {name} at {new}")
            elif new is None:
                lines.append(f"removed: {name} from {old}")
            elif old != new:
                lines.append(f"moved: {name} from {old} to {new}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "format_version": FORMAT_VERSION,
            "size": self.size,
            "blocks": [asdict(block) for block in self.blocks],
            "special_tokens": dict(self.special_tokens),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Vocabulary":
        """Read the JSON form.

        Raises:
            VocabularyError: another format version, unknown or missing fields, a wrong size.
        """
        if document.get("format_version") != FORMAT_VERSION:
            raise VocabularyError(
                f"expected vocabulary format version {FORMAT_VERSION}, received "
                f"{document.get('format_version')!r}; install the DVSE that wrote it"
            )
        if set(document) != _FIELDS or not isinstance(document["special_tokens"], dict):
            raise VocabularyError(
                f"expected a vocabulary with the fields {sorted(_FIELDS)}, received "
                f"{sorted(document)}"
            )
        try:
            blocks = [Block(**block) for block in document["blocks"]]
        except TypeError as error:
            raise VocabularyError(f"expected a list of blocks; {error}") from None
        vocabulary = cls(blocks, document["special_tokens"])
        if document.get("size") != vocabulary.size:
            raise VocabularyError(
                f"expected vocabulary size {vocabulary.size}, received {document.get('size')!r}"
            )
        return vocabulary

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        parts = ", ".join(describe_block(b) for b in self.blocks)
        return f"Vocabulary({parts}; size {self.size})"

    @cached_property
    def _special_by_id(self) -> dict[int, str]:
        return {i: name for name, i in self.special_tokens.items()}

    @cached_property
    def _tables(self) -> IdTables:
        return IdTables.of(self.blocks, self.special_tokens.values())


_FIELDS = {"format_version", "size", "blocks", "special_tokens"}


def _whole_numbers(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise IdRangeError(f"expected {what} of one shape, received lists of many") from None
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.integer):
        raise IdRangeError(f"expected {what} to be whole numbers, received dtype {array.dtype}")
    return array.astype(np.int64)
