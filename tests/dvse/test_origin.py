"""A tokenizer in other processes: pickled by name or path and fingerprint, and only loaded ones."""

import pickle
import shutil

import numpy as np
import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch.utils.data import DataLoader

import dvse
from dvse.errors import BundleIntegrityError, BundleNotFoundError, ConfigError
from dvse.processor import DvseProcessor
from dvse.storage.bundle import Bundle, write_bundle
from dvse.text.sentencepiece import SentencePieceText
from dvse.vocabulary import Vocabulary


class Rows:
    """A data set for a `DataLoader`: text i, tokenised where it is asked for."""

    def __init__(self, tokenizer: dvse.Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> list[int]:
        return self.tokenizer.encode(dvse.Text(f"hello {i}")).ids.tolist()


def test_a_pickle_names_the_bundle_and_holds_no_weight(text_bundle):
    tokenizer = dvse.load(text_bundle, threads=1)
    data = pickle.dumps(tokenizer)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert (again.fingerprint, again.profile) == (tokenizer.fingerprint, tokenizer.profile)
    assert again.encode(dvse.Text("hello")).ids.tolist() == (
        tokenizer.encode(dvse.Text("hello")).ids.tolist()
    )
    processor = pickle.loads(pickle.dumps(DvseProcessor(tokenizer)))
    assert processor.batch_decode(processor(text=["hello"])["input_ids"]) == ["hello"]


def test_a_shipped_bundle_is_found_again_wherever_it_lies():
    tokenizer = dvse.load("tiny", threads=1)
    assert tokenizer.origin.source == "tiny"
    pixels = np.full((32, 32, 3), 77, np.uint8)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode(dvse.Image(pixels)).ids.tolist() == (
        tokenizer.encode(dvse.Image(pixels)).ids.tolist()
    )


def test_another_bundle_in_its_place_is_refused(text_bundle, tmp_path):
    place = tmp_path / "mine"
    shutil.copytree(text_bundle, place)
    data = pickle.dumps(dvse.load(place, threads=1))
    text = SentencePieceText.train(["other words than before"] * 50, vocab_size=270)
    text.save_files(place / "text")
    write_bundle(
        place,
        name="words",
        vocabulary=Vocabulary.create(text_size=270),
        sections=Bundle.open(text_bundle).sections,
    )
    with pytest.raises(BundleIntegrityError, match="which was pickled"):
        pickle.loads(data)
    shutil.rmtree(place)
    with pytest.raises(BundleNotFoundError):
        pickle.loads(data)


def test_one_that_was_made_by_hand_says_so(tokenizer):
    with pytest.raises(ConfigError, match="save it, load it"):
        pickle.dumps(tokenizer)


def test_a_data_loader_with_spawn(text_bundle):
    tokenizer = dvse.load(text_bundle, threads=1)
    loader = DataLoader(
        Rows(tokenizer),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    assert list(loader) == [Rows(tokenizer)[i] for i in range(4)]


def test_datasets_hashes_the_function_and_uses_its_cache_again(text_bundle, tmp_path):
    calls = tmp_path / "calls"

    def mapped(tokenizer):
        def encode(row):
            with calls.open("a") as file:
                file.write(".")
            return {"ids": tokenizer.encode(dvse.Text(row["text"])).ids.tolist()}

        return encode

    Dataset.from_dict({"text": ["hello", "one two"]}).save_to_disk(tmp_path / "texts")
    found = []
    for _ in range(2):
        tokenizer = dvse.load(text_bundle, threads=1)
        found.append(Dataset.load_from_disk(tmp_path / "texts").map(mapped(tokenizer))["ids"])
    assert list(found[0]) == list(found[1])
    assert calls.read_text() == ".."  # two rows, once
    one, two = (Hasher.hash(dvse.load(text_bundle, threads=n)) for n in (1, 2))
    assert one != two  # other threads may give other ids
