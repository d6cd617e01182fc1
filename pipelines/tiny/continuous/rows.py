"""The same conversations twice: as tokens, and with features where the codes stood."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dvse.chat import render
from dvse.encoding import Encoding
from dvse.errors import InputError
from dvse.items import Item
from dvse.storage.shard import ShardMetadata, encoding_row, shard_name, shard_schema, write_shard
from dvse.tokenizer import Tokenizer
from pipelines.tiny.continuous.embedding import KINDS, feature_ids

_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Shards of the same rows in both forms.

    Attributes:
        discrete, continuous: folders with one shard each.
    """

    discrete: Path
    continuous: Path


class FeatureTables:
    """Features `fp16 [N, dim]` of each kind, growing."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        self._counts = dict.fromkeys(KINDS, 0)

    def add(self, kind: str, features: np.ndarray) -> int:
        """Append and return the number of the first."""
        first = self._counts[kind]
        self._parts[kind].append(features.astype(np.float16))
        self._counts[kind] += len(features)
        return first

    def arrays(self) -> list[np.ndarray]:
        """Return one array a kind, in the order of `KINDS`; of one column where there is none."""
        return [
            np.concatenate(self._parts[kind]) if self._parts[kind] else np.zeros((0, 1), np.float16)
            for kind in KINDS
        ]


def write_rows(
    conversations: Path,
    tokenizer: Tokenizer,
    tables: FeatureTables,
    output: Path,
    *,
    limit: int | None = None,
) -> Rows:
    """Write the first `limit` conversations in both forms; their features go to `tables`.

    Raises:
        InputError: a file that cannot be read.
    """
    metadata = ShardMetadata.of(tokenizer).to_schema_metadata()
    rows: dict[str, list[dict[str, Any]]] = {"discrete": [], "continuous": []}
    with conversations.open(encoding="utf-8") as file:
        lines = tqdm(islice(file, limit), desc="features", unit="row", disable=None)
        while few := list(islice(lines, _AT_ONCE)):
            for name, row in _both(
                few, conversations.parent, tokenizer, tables, len(rows["discrete"])
            ):
                rows[name].append(row)
    for name, mine in rows.items():
        (output / name).mkdir(parents=True, exist_ok=True)
        path = output / name / shard_name(0)
        write_shard(path, mine, schema=shard_schema("uint32"), metadata=metadata)
    return Rows(discrete=output / "discrete", continuous=output / "continuous")


def _both(
    lines: list[str], folder: Path, tokenizer: Tokenizer, tables: FeatureTables, first: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    chats = [render(_with_folder(json.loads(line)["messages"], folder)) for line in lines]
    features = _features([item for chat in chats for item in chat.items], tokenizer)
    for number, encoding in enumerate(tokenizer.encode_many(chat.items for chat in chats)):
        if isinstance(encoding, InputError):
            raise encoding
        chat = chats[number]
        mask = encoding.mask(chat.is_answer)
        ids = encoding.ids.copy()
        for item, span in zip(chat.items, encoding.spans, strict=True):
            if span.modality not in KINDS:
                continue
            found = features[id(item)]
            start = tables.add(span.modality, found)
            # Codes stand last before the end token.
            ids[span.stop - 1 - len(found) : span.stop - 1] = feature_ids(
                tokenizer.vocabulary.size, span.modality, start, len(found)
            )
        other = Encoding(ids=ids, modality_ids=encoding.modality_ids, spans=encoding.spans)
        for name, one in (("discrete", encoding), ("continuous", other)):
            yield name, encoding_row(one, id=str(first + number), loss_mask=mask)


def _features(items: list[Item], tokenizer: Tokenizer) -> dict[int, np.ndarray]:
    """Return the features `fp32 [n, dim]` of each picture and recording by its item's identity."""
    found: dict[int, list[np.ndarray]] = {}
    for kind in KINDS:
        media: Any = tokenizer.image if kind == "image" else tokenizer.audio
        chunks = [
            (id(item), chunk)
            for item in items
            for chunk in tokenizer.preparer.chunks([item])
            if chunk.modality == kind
        ]
        if not chunks:
            continue
        with tokenizer.profile.pinned():
            embedded = media.embed([chunk for _, chunk in chunks])
        for (key, _), features in zip(chunks, embedded, strict=True):
            found.setdefault(key, []).append(features)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _with_folder(messages: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Let the paths in messages count from `folder`."""
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] in KINDS:
                part[part["type"]] = str(folder / part[part["type"]])
    return messages
