"""Programs for devices, run where they can be: by ExecuTorch, in an environment of its own."""

import json
from pathlib import Path

import pytest
from peers import run_in
from small_model import make_decoder, save_small_model

from dvse.errors import ConfigError, MissingExtraError
from dvse.storage.bundle import Bundle
from pipelines.answering.model_directory import save_model
from pipelines.runtimes.coreml_target import CoremlTarget
from pipelines.runtimes.device_export import DeviceTarget, export_to_device
from pipelines.runtimes.device_settings import DeviceSettings
from pipelines.runtimes.executorch_target import ExecutorchTarget

SCRIPTS = Path(__file__).parent / "readers"
WIDE = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "num_hidden_layers": 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("weights", "most"), [("float32", 1e-5), ("int4", 0.8)])
def test_executorch_says_what_torch_says(weights, most, tmp_path):
    model = save_small_model(tmp_path / "model", use_token_gate=True, **WIDE)
    told = run_in("executorch", SCRIPTS / "run_executorch.py", model, tmp_path / "out", weights)
    found = json.loads(told.splitlines()[-1])
    assert {"decoder.pte", "pictures.pte", "recordings.pte", "export.json"} <= set(found["files"])
    assert found["same_picture_codes"] == found["same_recording_codes"] == 1
    assert found["logit_error"] < most
    if weights == "float32":
        assert found["same_tokens"] == found["num_tokens"] == 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_core_ml_packages_read_back(tmp_path):
    model = save_small_model(tmp_path / "model", use_token_gate=True, **WIDE)
    told = run_in("coreml", SCRIPTS / "run_coreml.py", model, tmp_path / "out")
    found = json.loads(told.splitlines()[-1])
    assert found["decoder"]["inputs"] == ["input_ids", "positions"]
    assert found["decoder"]["outputs"] == ["logits"]
    assert sorted(found["decoder"]["states"]) == ["keys_0", "values_0"]
    assert found["pictures"] == {"inputs": ["pixels"], "outputs": ["codes"], "states": []}
    assert found["recordings"] == {"inputs": ["samples"], "outputs": ["codes"], "states": []}


class Paper(DeviceTarget):
    """A runtime that anything can be written for."""

    name, suffix, libraries = "Paper", ".txt", ()

    def check_extra(self):
        pass

    def write_half(self, module, inputs, shapes, path):
        path.write_text(type(module).__name__)
        return f"{len(inputs)} inputs"

    def write_decoder(self, decoder, settings, path):
        path.write_text(type(decoder).__name__)
        return f"7 tokens/s at {settings.context}"


def test_sizes_and_speed_stand_in_the_card(random_model, tmp_path):
    output = tmp_path / "out"
    figures = export_to_device(Paper(), random_model, output, DeviceSettings(context=32, longest=8))
    assert figures["decoder"] == "7 tokens/s at 32"
    assert json.loads((output / "export.json").read_text())["figures"] == figures
    card = (output / "README.md").read_text()
    assert card.startswith(Bundle.open(random_model).card.rstrip())
    assert "## For Paper" in card and "| `decoder.txt` | 7 tokens/s at 32 |" in card
    for stem, module in (("pictures", "PictureCodes"), ("recordings", "RecordingCodes")):
        assert (output / f"{stem}.txt").read_text() == module
        assert f"| `{stem}.txt` | {figures[stem]} |" in card


class Missing(ExecutorchTarget):
    """An ExecuTorch that is not installed."""

    def check_extra(self) -> None:
        raise MissingExtraError("not here")


def test_one_sentence_before_a_weight_is_read(tmp_path, random_model):
    """The weights of these models are none."""
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    routed = save_model(make_decoder(**experts), "tiny", tmp_path / "routed")
    (routed / "model.safetensors").write_bytes(b"")

    def refused(match, name, target, kind=ConfigError, **settings):
        with pytest.raises(kind, match=match):
            export_to_device(target, name, tmp_path / "out", DeviceSettings(**settings))
        assert not (tmp_path / "out").exists()

    refused("4 experts a layer, and no graph .* ExecuTorch", routed, Missing())
    refused("4 experts a layer, and no graph .* Core ML", routed, CoremlTarget())
    refused("Core ML takes float32 here", random_model, CoremlTarget(), weights="int4")
    refused("the decoder has 512 positions", random_model, Missing(), context=600)
    refused("not here", random_model, Missing(), kind=MissingExtraError)
    with pytest.raises(ConfigError, match="1 <= --longest <= --context"):
        DeviceSettings(longest=9, context=8)
    with pytest.raises(ConfigError, match="--picture-side"):
        DeviceSettings(picture_side=0)
