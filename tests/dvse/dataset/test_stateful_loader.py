"""torchdata's `StatefulDataLoader`: its state goes on exactly, with workers and without."""

import numpy as np
import pytest

from dvse.dataset.token_dataset import TokenDataset
from dvse.encoding import Encoding, Span
from dvse.errors import ConfigError
from dvse.storage.shard import ShardMetadata, encoding_row, shard_name, shard_schema, write_shard

torchdata = pytest.importorskip("torchdata.stateful_dataloader")
# What torchdata calls inside torch.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory):
    """Three shards of documents, each of a number of its own."""
    folder = tmp_path_factory.mktemp("tokens")
    about = {"bundle": "b", "bundle_fingerprint": "f", "vocabulary_fingerprint": "v"}
    metadata = ShardMetadata(**about, vocabulary_size=60000, profile={}).to_schema_metadata()
    for shard in range(3):
        rows = []
        for row in range(6):
            ids = np.full(20 + row, 10 * shard + row + 1)
            spans = (Span(modality="text", start=0, stop=len(ids)),)
            encoding = Encoding(ids=ids, modality_ids=np.zeros(len(ids), np.int8), spans=spans)
            rows.append(encoding_row(encoding, id=f"{shard}-{row}", id_dtype="uint16"))
        path, schema = folder / shard_name(shard), shard_schema("uint16")
        write_shard(path, rows, schema=schema, metadata=metadata)
    return folder


def loader(folder, num_workers):
    data = TokenDataset(folder, batch_size=2, length=16, seed=3)
    return torchdata.StatefulDataLoader(data, batch_size=None, num_workers=num_workers)


def ids(batches):
    return [batch.input_ids.tolist() for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_goes_on_from_its_state(token_folder, num_workers):
    whole = ids(loader(token_folder, num_workers))
    assert whole == ids(loader(token_folder, 0))
    assert len(whole) > 4
    # In the middle, behind the first batch, and where one worker has come to its end.
    for num_taken in (1, len(whole) // 2, len(whole) - 1):
        first = loader(token_folder, num_workers)
        batches = iter(first)
        taken = ids(next(batches) for _ in range(num_taken))
        state = first.state_dict()
        del batches
        again = loader(token_folder, num_workers)
        again.load_state_dict(state)
        assert taken + ids(again) == whole, num_taken


def test_a_state_of_other_workers_is_refused(token_folder):
    data = TokenDataset(token_folder, batch_size=2, length=16)
    state = data.state_dict() | {"worker": [0, 2, 1]}
    data.load_state_dict(state)
    with pytest.raises(ConfigError, match="with 2 workers goes on with as many, not 1"):
        next(iter(data))
