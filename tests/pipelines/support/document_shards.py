"""Token shards of given documents, for tests of what reads them."""

import numpy as np

from dvse.encoding import Encoding, Span
from dvse.storage.shard import ShardMetadata, encoding_row, shard_name, shard_schema, write_shard


def write_documents(folder, shards, *, dtype="uint16", vocabulary="v", masks=None, modality="text"):
    """Write shards of rows of ids and return the folder; row i of shard s is named s-i.

    `dtype` may be a name for each shard.
    """
    folder.mkdir(exist_ok=True)
    metadata = ShardMetadata(
        bundle="b",
        bundle_fingerprint="f",
        vocabulary_fingerprint=vocabulary,
        vocabulary_size=60000,
        profile={},
    ).to_schema_metadata()
    dtypes = [dtype] * len(shards) if isinstance(dtype, str) else dtype
    for number, rows in enumerate(shards):
        made = []
        for i, ids in enumerate(rows):
            ids = np.asarray(ids, dtype=np.int64)
            encoding = Encoding(
                ids=ids,
                modality_ids=np.zeros(len(ids), np.int8),
                spans=(Span(modality=modality, start=0, stop=len(ids)),),
            )
            mask = masks and masks[number][i]
            made.append(
                encoding_row(
                    encoding,
                    id=f"{number}-{i}",
                    id_dtype=dtypes[number],
                    loss_mask=None if mask is None else np.asarray(mask, bool),
                )
            )
        schema = shard_schema(dtypes[number])
        write_shard(folder / shard_name(number), made, schema=schema, metadata=metadata)
    return folder
