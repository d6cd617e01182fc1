"""The shared vocabulary: which id means what, for text, specials, pictures and speech.

    0 ─ text pieces ─┬─ 256 reserved specials ─┬─ image codes ─┬─ audio codes ─┬─ unused ─ size
                     (SentencePiece ids stay)    (a block a residual level)     (multiple of 128)

Runs of audio codes may have ids, too (`dvse.code_runs`). Blocks are only ever appended, so growing
never moves an id. It alone converts codes (local to one codebook) to ids (global) and back, and
checks every range both ways. It knows no media, no text pieces and no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from dvse.blocks import KINDS, NUM_RESERVED, RUNS, Block, check_blocks, describe_block
from dvse.code_runs import CodeRuns
from dvse.errors import BundleFormatError, IdRangeError, VocabularyError
from dvse.id_tables import IdTables, whole_numbers
from dvse.special_tokens import END_OF_TEXT, GRID_TOKENS, NAMED_TOKENS, check_special_tokens
from dvse.vocabulary_changes import block_changes, run_changes, special_changes

FORMAT_VERSION = 1
MULTIPLE = 128


class Vocabulary:
    """An append-only list of blocks and the ids of the special tokens.

    Args:
        blocks: contiguous from id 0, in order of ids.
        special_tokens: name → id; ids lie in the special block, or in the text block where the
            text tokenizer already defines the token.
        runs: audio codes that have an id together, in the order of those ids.

    Raises:
        VocabularyError: gaps, overlaps, a level without its predecessor, a special outside the
            text and special blocks, two specials on one id, or runs that are not those of a block.

    >>> v = Vocabulary.create(text_size=1000, image=(1024, 1), audio=(200, 1))
    >>> v.image_ids([0, 1023]).tolist()
    [1256, 2279]
    >>> v.special_tokens["<|begin_of_image|>"], v.size
    (1009, 2560)
    >>> v.name_of(1273)
    '<|image_17|>'
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        special_tokens: Mapping[str, int],
        *,
        runs: Sequence[Sequence[int]] = (),
    ) -> None:
        self.blocks = tuple(blocks)
        self.special_tokens = dict(special_tokens)
        check_blocks(self.blocks, num_runs=len(runs))
        self.runs = CodeRuns(num_codes=self.num_codes("audio"), runs=runs)
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
        return Vocabulary(blocks, self.special_tokens, runs=self.runs.runs)

    def grow_runs(self, runs: Sequence[Sequence[int]]) -> "Vocabulary":
        """Return a vocabulary in which each of these runs of audio codes has an id; no id moves.

        Args:
            runs: those that are there, and new ones behind them.

        Raises:
            VocabularyError: other ones in place of those that are there, or codes of more levels.

        >>> v = Vocabulary.create(text_size=10, audio=(4, 1)).grow_runs([(3, 3), (0, 3, 3)])
        >>> ids = v.place_ids("audio", [[0], [3], [3], [1]])
        >>> ids.tolist(), v.name_of(271), v.codes_of("audio", ids)[0].tolist()
        ([271, 267], '<|audio_run_1|>', [0, 3, 3, 1])
        """
        have = len(self.runs)
        if tuple(map(tuple, runs[:have])) != self.runs.runs:
            raise VocabularyError(
                f"the runs do not begin with the {have} of this vocabulary; learn on from those"
            )
        added = Block(name=RUNS, first_id=self.num_ids, size=len(runs) - have, first_code=have)
        blocks = [*self.blocks, added] if added.size else self.blocks
        return Vocabulary(blocks, self.special_tokens, runs=runs)

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
        if name not in self.special_tokens:
            raise IdRangeError(f"expected a special token of the vocabulary, received {name!r}")
        return self.special_tokens[name]

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
        codes = whole_numbers(codes, f"{name} codes")
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

    def place_ids(self, name: str, codes: Any) -> np.ndarray:
        """Return the ids `int64 [m]` of one picture or recording, place by place.

        Args:
            name: `image` or `audio`.
            codes: `[places, num_levels]`. Runs of audio codes that have an id get that one.

        Raises:
            IdRangeError: a code outside 0 … num_codes-1, or no such level.
        """
        codes = np.asarray(codes)
        if name == "audio" and self.runs:
            symbols = self.runs.encode(whole_numbers(codes, "audio codes").reshape(-1))
            return self._tables.ids_by_symbol[symbols]
        levels = [self.code_ids(name, codes[:, n], level=n) for n in range(codes.shape[1])]
        return np.stack(levels, axis=1).reshape(-1)

    def codes_of(self, name: str, ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return `(codes, levels)`, both int64, of ids that all belong to one modality's blocks.

        A run is as many codes as it holds, so there may be more codes than ids.

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
        codes, levels = self._tables.codes[ids], self._tables.levels[ids]
        if name == "audio" and self.runs:
            codes = self.runs.decode(codes.reshape(-1))
            levels = np.zeros_like(codes)
        return codes, levels

    def check_ids(self, ids: Any) -> np.ndarray:
        """Return `ids` as int64 if every one of them is in 0 … num_ids-1.

        Raises:
            IdRangeError: an id outside, or ids that are no whole numbers.
        """
        ids = whole_numbers(ids, "ids")
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
        if block.name == RUNS:
            return f"<|audio_run_{offset}|>"
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
        return [
            *block_changes(self.blocks, other.blocks),
            *run_changes(self.runs.runs, other.runs.runs),
            *special_changes(self.special_tokens, other.special_tokens),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "format_version": FORMAT_VERSION,
            "size": self.size,
            "blocks": [asdict(block) for block in self.blocks],
            "special_tokens": dict(self.special_tokens),
            **({"runs": [list(run) for run in self.runs.runs]} if self.runs else {}),
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
        if set(document) - {"runs"} != _FIELDS or not isinstance(document["special_tokens"], dict):
            raise VocabularyError(
                f"expected a vocabulary with the fields {sorted(_FIELDS)}, received "
                f"{sorted(document)}"
            )
        try:
            blocks = [Block(**block) for block in document["blocks"]]
            runs = [_codes_of_run(run) for run in document.get("runs", ())]
        except TypeError as error:
            raise VocabularyError(f"expected a list of blocks, and one of runs; {error}") from None
        vocabulary = cls(blocks, document["special_tokens"], runs=runs)
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


def _codes_of_run(run: Any) -> list[int]:
    if not isinstance(run, list) or any(type(code) is not int for code in run):
        raise TypeError(f"expected a run as a list of codes, received {run!r:.60}")
    return run
