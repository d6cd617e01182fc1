"""A person is told every setting that decides tokens; no field of a spec goes unsaid."""

import pytest

from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from pipelines.cli import main
from pipelines.reports.deciding_lines import deciding_lines

UNITS = {
    "sample_rate_hz": 16_000,
    "max_duration_s": 86_400.0,
    "merge_repeats": True,
    "windows": {"chunk_samples": 1_600_000},
    "encoder": {
        "architecture": "hubert",
        "layer": 11,
        "normalize": True,
        "config": {"hidden_size": 768},
        "variance_floor": 1e-5,
        "final_norm": False,
    },
    "weights": None,
    "pad_samples": 40,
}
ORIGIN = {
    "convention": "slamkit",
    "licence": "MIT",
    "encoder": {"name": "hubert/", "revision": None},
}


def lines_of(modality, spec, folder, provenance=None):
    return "\n".join(deciding_lines(modality, spec, folder, provenance or {}))


def test_units(tmp_path):
    text = lines_of("audio", UNITS, tmp_path, ORIGIN)
    for wanted in (
        "hubert, layer 11",
        "16000 Hz",
        "torchaudio's Hann-windowed sinc",
        "each stretch to mean 0 and variance 1, epsilon 1e-05",
        "no, the last layer is taken before it",
        "40 zeros at each end",
        "after each 100 s, without overlap",
        "repeats           merged",
        "convention        slamkit",
        "licence           MIT",
        "encoder from      name hubert/",
        "max duration s    86400.0",
    ):
        assert wanted in text


def test_what_is_said_follows_the_field(tmp_path):
    spec = {**UNITS, "merge_repeats": False, "windows": {"window_frames": 9, "hop_frames": 5}}
    spec["encoder"] = {**UNITS["encoder"], "normalize": False, "final_norm": True}
    del spec["pad_samples"]
    text = lines_of("audio", spec, tmp_path)
    for wanted in (
        "normalisation     none",
        "windows of 9 frames every 5",
        "repeats           kept",
        "padding           0 zeros",
        "yes, where the layer",
    ):
        assert wanted in text


def test_a_field_that_came_later_is_shown_as_it_stands(tmp_path):
    spec = {**UNITS, "loudness": -23, "encoder": {**UNITS["encoder"], "dither": 0.5}}
    text = lines_of("audio", spec, tmp_path)
    assert "loudness          -23" in text and "dither            0.5" in text


@pytest.mark.parametrize(
    ("geometry", "wanted"),
    [
        (
            {"kind": "crop", "resize": 256, "size": 224, "patch_size": 16, "resample": "bicubic",
             "num_latents": 0},
            "short side to 256 (bicubic, no draft), centre 224x224, 196 codes",
        ),
        (
            {"kind": "crop", "resize": 256, "size": 256, "patch_size": 16, "resample": "bicubic",
             "num_latents": 32},
            "centre 256x256, 32 codes",
        ),
        (
            {"kind": "area", "patch_size": 8, "min_pixels": 262144, "max_pixels": 1048576,
             "resample": "lanczos"},
            "own aspect, 262,144..1,048,576 pixels (lanczos, no draft), a code for 8x8",
        ),
    ],
)  # fmt: skip
def test_pictures(tmp_path, geometry, wanted):
    spec = {
        "geometry": geometry,
        "limits": {"max_pixels": 9},
        "encoder": {"name": "vit", "mean": [0.5] * 3, "std": [0.5] * 3, "layer": -1, "norm": True},
        "weights": None,
        "quantizer": {"kind": "codebook", "code_dim": 32, "project_in": True, "hidden_dim": 768},
        "decoder": None,
    }
    text = lines_of("image", spec, tmp_path)
    assert wanted in text
    assert "MLP of 768 (tanh), 32 channels" in text
    assert "way back          none" in text
    assert "limits            {'max_pixels': 9}" in text


def test_the_shipped_bundle(capsys):
    folder = find_bundle("tiny")
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert Bundle.open(folder).fingerprint in text
    for wanted in (
        "1 levels of 200 codes",
        f"1 levels of {Bundle.open(folder).vocabulary.num_codes('image')} codes",
        "sentencepiece",
        "windows of",
    ):
        assert wanted in text
