"""Units of imported parts against transformers and scikit-learn alone: none differ."""

import json

import joblib
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel

from dvse.audio.tokenizer import AudioTokenizer
from dvse.codebook import Codebook
from dvse.errors import BundleNotFoundError, ConfigError, WeightsFormatError
from dvse.items import Audio
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.importing.units import CONVENTIONS, UnitSettings, import_units

RATE = 16_000


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(1)
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(config).eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(3)
    for number in range(6):
        times = np.arange(int((0.6 + 0.37 * number) * RATE)) / RATE
        tone = np.sin(2 * np.pi * (200 + 60 * number) * times * (1 + 0.2 * times))
        samples = 0.2 * tone + 0.05 * rng.standard_normal(len(times))
        soundfile.write(folder / f"{number}.flac", samples, RATE)
    return sorted(folder.iterdir())


@torch.inference_mode()
def reference(folder, paths, *, layer, normalize, pad=0):
    """fairseq's dump_hubert_feature, in transformers: one recording at a time, up to 100 s."""
    model = HubertModel.from_pretrained(folder).eval()
    features = []
    for path in paths:
        samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        samples = F.pad(samples, (pad, pad))
        if normalize:
            samples = F.layer_norm(samples, samples.shape)
        hidden = model(samples[None], output_hidden_states=True).hidden_states[layer]
        features.append(hidden[0].numpy())
    return features


@pytest.fixture(scope="module")
def kmeans(encoder, recordings):
    features = np.concatenate(reference(encoder, recordings, layer=2, normalize=False))
    return MiniBatchKMeans(
        25, n_init=5, batch_size=10_000, random_state=0, compute_labels=False
    ).fit(features)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("convention", ["fairseq", "slamkit"])
def test_no_unit_differs(encoder, recordings, kmeans, tmp_path, normalize, convention):
    joblib.dump(kmeans, tmp_path / "km.bin")
    part = import_units(
        tmp_path / "part",
        centroids=tmp_path / "km.bin",
        encoder=encoder,
        layer=2,
        convention=convention,
        settings=UnitSettings(normalize=normalize, merge_repeats=False, variance_floor=1e-5),
    )
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    pad = CONVENTIONS[convention].pad_samples
    peers = reference(encoder, recordings, layer=2, normalize=normalize, pad=pad)
    for path, features in zip(recordings, peers, strict=True):
        chunks = list(tokenizer.preparer.prepare(Audio(path)))
        found = np.concatenate([codes[:, 0] for codes in tokenizer.encode(chunks)])
        assert found.tolist() == kmeans.predict(features).tolist()


def test_a_long_recording_is_scaled_as_a_whole_and_then_cut(encoder, kmeans, tmp_path):
    """fairseq's reader: `layer_norm` of the file, then chunks; here of 2 s."""
    joblib.dump(kmeans, tmp_path / "km.bin")
    part = import_units(
        tmp_path / "part",
        centroids=tmp_path / "km.bin",
        encoder=encoder,
        layer=2,
        convention="fairseq",
        settings=UnitSettings(normalize=True, chunk_s=2.0),
    )
    rng = np.random.default_rng(0)
    loud = np.repeat([0.02, 0.6, 0.1], RATE * 2)[: 5 * RATE + 777]
    soundfile.write(tmp_path / "long.wav", loud * rng.standard_normal(len(loud)) * 0.5, RATE)
    samples = torch.from_numpy(soundfile.read(tmp_path / "long.wav", dtype="float32")[0])
    samples = F.layer_norm(samples, samples.shape)
    model = HubertModel.from_pretrained(encoder).eval()
    with torch.inference_mode():
        features = [
            model(chunk[None], output_hidden_states=True).hidden_states[2][0].numpy()
            for chunk in samples.split(2 * RATE)
        ]
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    chunks = list(tokenizer.preparer.prepare(Audio(tmp_path / "long.wav")))
    found = np.concatenate([codes[:, 0] for codes in tokenizer.encode(chunks)])
    assert found.tolist() == kmeans.predict(np.concatenate(features)).tolist()


def test_every_kind_of_file_gives_the_same_centroids(encoder, kmeans, tmp_path):
    wanted = kmeans.cluster_centers_
    np.save(tmp_path / "c.npy", wanted)
    np.savez(tmp_path / "c.npz", means=wanted, counts=np.arange(len(wanted)))
    save_file({"means": torch.from_numpy(wanted)}, tmp_path / "c.safetensors")
    Codebook(torch.from_numpy(wanted)[None]).save(tmp_path / "own.safetensors")
    torch.save(torch.from_numpy(wanted), tmp_path / "c.pt")
    torch.save({"centroids": torch.from_numpy(wanted), "n": 3}, tmp_path / "d.pt")
    old = {"_use_new_zipfile_serialization": False}
    torch.save(torch.from_numpy(wanted), tmp_path / "old.pt", **old)
    joblib.dump(kmeans, tmp_path / "c.bin", compress=3)
    for theirs in ("speechbrain.pt", "espnet.mdl"):  # joblib dumps by other names
        joblib.dump(kmeans, tmp_path / theirs)
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatL2(wanted.shape[1])
    index.add(wanted)
    faiss.write_index(index, str(tmp_path / "c.index"))
    for name in sorted(path.name for path in tmp_path.iterdir()):
        part = import_units(
            tmp_path / f"part-{name}",
            centroids=tmp_path / name,
            encoder=encoder,
            layer=2,
            convention="fairseq",
        )
        found = AudioTokenizer.from_spec(part.spec, part.folder).codebook.centroids[0].numpy()
        assert (found == wanted).all(), name


def test_the_command_and_what_it_records(encoder, kmeans, tmp_path, capsys):
    joblib.dump(kmeans, tmp_path / "km.bin")
    words = ["import", "units", "--centroids", str(tmp_path / "km.bin"), "--encoder", str(encoder)]
    words += ["--layer", "2", "--convention", "textlesslib", "--licence", "MIT"]
    assert main([*words, "--output", str(tmp_path / "part")]) == 0
    assert "joblib dump of k-means" in capsys.readouterr().out
    part = Part.load(tmp_path / "part")
    assert part.spec["windows"] == {"chunk_samples": 1_600_000}
    assert part.spec["merge_repeats"] is True
    assert part.spec["encoder"]["variance_floor"] == 1e-5
    assert part.spec["encoder"]["normalize"] is False
    assert part.provenance["centroids"]["sklearn_version"]
    assert part.provenance["licence"] == "MIT"
    settings = part.provenance["settings"]
    assert settings["chunk_s"] == 100.0 and settings["overlap_s"] == 0.0
    assert settings["normalize"] is False and settings["merge_repeats"] is True
    assert settings["resampler"].startswith("torchaudio's Hann-windowed sinc, 6 zero crossings")
    assert main(["inspect", str(tmp_path / "part")]) == 0
    shown = capsys.readouterr().out
    for wanted in (settings["resampler"], "none", "100 s, without overlap", "textlesslib", "MIT"):
        assert wanted in shown


def test_the_whole_file_is_scaled_where_file_is_said(encoder, kmeans, tmp_path):
    np.save(tmp_path / "c.npy", kmeans.cluster_centers_)
    words = ["import", "units", "--centroids", str(tmp_path / "c.npy"), "--encoder", str(encoder)]
    words += ["--layer", "2", "--normalize", "file", "--variance-floor", "1e-5", "--chunk-s", "100"]
    words += ["--pad-samples", "0", "--merge-repeats", "no", "--output", str(tmp_path / "part")]
    assert main(words) == 0
    settings = Part.load(tmp_path / "part").provenance["settings"]
    assert (settings["normalize"], settings["normalize_over"]) == (True, "recording")


def test_the_rate_is_that_of_the_encoders_own_files(encoder, kmeans, tmp_path):
    """Units of an encoder of 8 kHz would be others at 16 kHz, without a word."""
    np.save(tmp_path / "c.npy", kmeans.cluster_centers_)
    (tmp_path / "slow").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "slow" / name).write_bytes((encoder / name).read_bytes())
    extractor = {"do_normalize": False, "sampling_rate": 8000}
    (tmp_path / "slow" / "preprocessor_config.json").write_text(json.dumps(extractor))
    options = {"centroids": tmp_path / "c.npy", "layer": 2, "convention": "fairseq"}
    for name, said, wanted in (("slow", None, 8000), ("slow", 16_000, 16_000)):
        part = import_units(
            tmp_path / f"{name}-{said}", encoder=tmp_path / name, sample_rate_hz=said, **options
        )
        assert part.spec["sample_rate_hz"] == wanted
        assert part.spec["windows"] == {"chunk_samples": 100 * wanted}
        assert part.provenance["settings"]["sample_rate_hz"] == wanted


def test_what_is_open_is_refused_until_it_is_said(encoder, kmeans, tmp_path):
    np.save(tmp_path / "c.npy", kmeans.cluster_centers_)

    def importing(**options):
        options = {"encoder": encoder, "layer": 2, "centroids": tmp_path / "c.npy"} | options
        return import_units(tmp_path / "part", **options)

    with pytest.raises(ConfigError, match=r"say --pad-samples .*--chunk-s .*--merge-repeats"):
        importing()
    with pytest.raises(ConfigError, match="convention among fairseq"):
        importing(convention="fairsec")
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "bare" / name).write_bytes((encoder / name).read_bytes())
    with pytest.raises(ConfigError, match=r"--normalize yes\|no"):
        importing(convention="fairseq", encoder=tmp_path / "bare")
    with pytest.raises(ConfigError, match=r"layer of 0\.\.3, received 9"):
        importing(convention="fairseq", layer=9)
    with pytest.raises(BundleNotFoundError, match="file of centroids"):
        importing(convention="fairseq", centroids=tmp_path / "nowhere.npy")
    np.save(tmp_path / "narrow.npy", kmeans.cluster_centers_[:, :12])
    with pytest.raises(WeightsFormatError, match="32 channels, as layer 2 has them, received 12"):
        importing(convention="fairseq", centroids=tmp_path / "narrow.npy")
    broken = kmeans.cluster_centers_.copy()
    broken[3, 3] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    with pytest.raises(WeightsFormatError, match="finite"):
        importing(convention="fairseq", centroids=tmp_path / "nan.npy")
    assert not (tmp_path / "part").exists()
    assert not list(tmp_path.glob(".part*"))
