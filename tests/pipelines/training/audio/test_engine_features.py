"""Features made by an engine are those of one process, block by block, whatever comes first."""

import functools
import logging
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from small_hubert import save_small_hubert, write_recordings

from dvse.audio.hub_weights import weights_sha256
from dvse.audio.preparer import AudioPreparer
from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import (
    ConfigError,
    CredentialsError,
    DecodeError,
    FeatureOverflowError,
    StorageError,
    TrainingError,
)
from dvse.items import Audio
from dvse.numerics import use_threads
from pipelines.cli import main
from pipelines.codebooks.clustering import Clustering
from pipelines.codebooks.kmeans import KMeansSettings
from pipelines.engines.engine import Engine, Outcome
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.engines.ray_node import row_bytes
from pipelines.sources.record import Failure
from pipelines.training.audio import engine_features as under_test
from pipelines.training.audio import units
from pipelines.training.audio.early_blocks import EarlyBlocks
from pipelines.training.audio.engine_features import engine_features
from pipelines.training.audio.feature_step import FeatureStep
from pipelines.training.audio.settings import (
    FeaturePlace,
    PublishedEncoder,
    UnitFeatures,
    UnitRecipe,
)
from pipelines.training.audio.units import audio_files, file_features, train_units


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """An encoder, and recordings: longer than a window, shorter, empty, broken, too short."""
    folder = tmp_path_factory.mktemp("work")
    save_small_hubert(folder / "encoder")
    write_recordings(folder / "recordings")
    rng = np.random.default_rng(1)
    for number in range(6):
        sound = rng.uniform(-0.5, 0.5, 12_000 * (number + 1))
        soundfile.write(folder / "recordings" / f"n{number}.flac", sound, 16_000)
    (folder / "recordings" / "c-empty.wav").write_bytes(b"")
    soundfile.write(folder / "recordings" / "d-short.wav", np.zeros(7), 16_000)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """As `dvse train audio` computes."""
    with use_threads(1):
        yield


@pytest.fixture
def recipe(work):
    return UnitRecipe(
        data=(work / "recordings",),
        encoder=PublishedEncoder(name=str(work / "encoder")),
        units=UnitFeatures(layer=1, window_s=1.0, hop_s=0.8),
        clustering=Clustering(kmeans=KMeansSettings(num_codes=8)),
    )


@pytest.fixture
def step(recipe):
    return FeatureStep(make=functools.partial(units._draft, recipe))


def wanted(recipe, caplog):
    """Blocks and complaints of one process."""
    return listened(caplog, lambda: file_features(units._draft(recipe), audio_files(recipe.data)))


def made(recipe, step, engine, caplog):
    weights = weights_sha256(units._draft(recipe).encoder.model)
    files = audio_files(recipe.data)
    return listened(caplog, lambda: engine_features(engine, step, files, weights=weights))


def listened(caplog, make):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        blocks = [block.tobytes() for block in make()]
    return blocks, [record.getMessage() for record in caplog.records]


class Shuffled(InlineEngine):
    """What comes in any order."""

    def run(self, records):
        outcomes = list(super().run(records))
        random.Random(3).shuffle(outcomes)
        yield from outcomes


@pytest.mark.parametrize("max_chunks", [1, 7, 256])
def test_any_order_and_any_batch_give_the_blocks_of_one_process(recipe, step, caplog, max_chunks):
    blocks, complaints = wanted(recipe, caplog)
    assert len(blocks) > 12 and len(complaints) == 3
    found = made(recipe, step, Shuffled(max_chunks=max_chunks), caplog)
    assert found[0] == blocks
    assert [text.partition(":")[0] for text in found[1]] == [
        text.partition(":")[0] for text in complaints
    ]


def test_windows_of_a_recording_fill_forward_passes(recipe, caplog, monkeypatch):
    embed, sizes = AudioTokenizer.embed, []

    def counted(self, chunks):
        sizes.append(len(chunks))
        assert all(len(chunks) <= self.batch_rows(c.shape) for c in chunks[:-1])
        return embed(self, chunks)

    monkeypatch.setattr(AudioTokenizer, "embed", counted)
    blocks, _ = wanted(recipe, caplog)
    assert sum(sizes) == len(blocks) and max(sizes) > 1


@pytest.mark.slow
def test_processes_give_the_blocks_of_one_process(recipe, step, caplog):
    found = made(recipe, step, LocalEngine(num_workers=2), caplog)
    assert found[0] == wanted(recipe, caplog)[0]


def test_a_recording_that_breaks_off_gives_what_came_before(recipe, step, caplog, monkeypatch):
    prepare = AudioPreparer.prepare

    def breaking(self, item: Audio, *, part: int = 0):
        for number, chunk in enumerate(prepare(self, item, part=part)):
            if number == 2 and "n5" in str(item.name):
                raise DecodeError(f"{item.name}: broken off")
            yield chunk

    before = wanted(recipe, caplog)
    monkeypatch.setattr(AudioPreparer, "prepare", breaking)
    expected = wanted(recipe, caplog)
    assert len(expected[0]) == len(before[0]) - 4
    found = made(recipe, step, Shuffled(), caplog)
    assert found[0] == expected[0]
    assert sum("broken off" in text for text in found[1]) == 1


def test_features_that_overflow_end_their_recording_alone(recipe, step, caplog, monkeypatch):
    from dvse.audio.tokenizer import AudioTokenizer

    embed = AudioTokenizer.embed

    def overflowing(self, chunks):
        if any(abs(float(chunk.data[100]) - loud) < 1e-7 for chunk in chunks):
            raise FeatureOverflowError("too large")
        return embed(self, chunks)

    (first, second, *_) = units._draft(recipe).preparer.prepare(
        Audio(Path(recipe.data[0]) / "n4.flac")
    )
    loud = float(second.data[100])
    assert loud != float(first.data[100])
    monkeypatch.setattr(AudioTokenizer, "embed", overflowing)
    expected = wanted(recipe, caplog)
    assert any("too large" in text for text in expected[1])
    assert made(recipe, step, Shuffled(), caplog)[0] == expected[0]


def test_few_recordings_are_read_ahead(recipe, step, caplog, monkeypatch):
    monkeypatch.setattr(under_test, "_AHEAD", 1)
    found = made(recipe, step, InlineEngine(max_chunks=1), caplog)
    assert found[0] == wanted(recipe, caplog)[0]


def test_another_encoder_under_that_name_is_refused(recipe, step):
    files = audio_files(recipe.data)
    with pytest.raises(TrainingError, match="another encoder"):
        list(engine_features(InlineEngine(), step, files, weights="0" * 64))


@pytest.mark.parametrize("error", [StorageError, CredentialsError])
def test_a_store_that_does_not_answer_is_no_broken_recording(recipe, step, error):
    class Failing(Engine):
        def open(self, step):
            return InlineEngine().open(step)

        def run(self, records):
            numbered = next(records)
            yield Outcome.failed(numbered, Failure.of("read", error("s3://b: no answer")))

        def close(self):
            pass

    weights = weights_sha256(units._draft(recipe).encoder.model)
    with pytest.raises(error, match="no answer"):
        list(engine_features(Failing(), step, audio_files(recipe.data), weights=weights))


def test_what_comes_early_waits_on_the_disk_beyond_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocks = {n: [np.full((n + 1, 3), n, np.float32)] * (n % 3) for n in range(9)}
    with EarlyBlocks(held_bytes=100) as early:
        for number in reversed(blocks):
            early.put(number, blocks[number])
        assert len(list(tmp_path.rglob("*.npy"))) == 5
        for number, expected in blocks.items():
            found = early.take(number)
            assert [b.tolist() for b in found] == [b.tolist() for b in expected]
        assert not list(tmp_path.rglob("*.npy"))
    assert not list(tmp_path.iterdir())


def test_bytes_of_a_row_are_those_of_its_arrays():
    assert row_bytes({"blocks": [np.zeros((2, 3), np.float32)] * 2, "reason": None}) == 48
    assert row_bytes({"ids": [1, 2, 3], "text": "abc", "blocks": []}) == 0


def test_settings_of_a_cluster_need_one():
    for wrong in ({"ray_address": "auto"}, {"num_workers": 2}, {"encode_on": "cuda"}):
        with pytest.raises(ConfigError, match="expected --engine ray beside it"):
            FeaturePlace(**wrong)
    with pytest.raises(ConfigError, match="expected at least 1"):
        FeaturePlace(engine_name="ray", num_workers=0)


def test_a_small_encoder_of_its_own_and_several_processes_need_no_cluster(
    recipe, tmp_path, capsys, monkeypatch
):
    words = ["train", "audio", "--data", str(recipe.data[0]), "--output", str(tmp_path / "out")]
    assert main([*words, "--engine", "ray"]) == 2
    assert "--engine needs an --encoder" in capsys.readouterr().err
    monkeypatch.setattr(units, "Processes", lambda: SimpleNamespace(count=2, rank=0))
    with pytest.raises(ConfigError, match="expected one process, which the cluster works for"):
        train_units(replace(recipe, place=FeaturePlace(engine_name="ray")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::")
@pytest.mark.parametrize("keep", [False, True])
def test_a_ray_cluster_gives_the_bytes_of_one_process(recipe, tmp_path, keep, monkeypatch):
    """Two nodes; the encoder and the recordings are named relative to where the command runs."""
    ray_nodes = pytest.importorskip("ray_nodes")
    data = Path(recipe.data[0])
    monkeypatch.chdir(data.parent)
    recipe = replace(
        recipe,
        data=(Path("recordings"),),
        encoder=replace(recipe.encoder, name="encoder"),
        clustering=replace(recipe.clustering, keep_features=keep),
    )
    train_units(recipe, tmp_path / "here")
    with ray_nodes.running() as cluster:
        place = FeaturePlace(engine_name="ray", ray_address=cluster.address)
        train_units(replace(recipe, place=place), tmp_path / "there")
    here, there = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file()
        }
        for name in ("here", "there")
    )
    assert here.keys() == there.keys() and len(here) >= (5 if keep else 3)
    assert here == there
