"""Weights in 8 and 4 bits on the way in: what is loaded, pickled, captioned, refused."""

import pickle

import pytest
import torch

from dvse.errors import ConfigError
from model import DvseForCausalLM
from model.quantized_linear import Int4Linear, Int8Linear
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.model_directory import load_model, save_model
from pipelines.cli import main
from pipelines.server.settings import LoadingConfig


@pytest.mark.parametrize(("name", "layer"), [("int8", Int8Linear), ("int4", Int4Linear)])
def test_rounded_on_the_way_in(name, layer):
    loaded = load_to_answer("tiny", threads=1, quantize=name)
    assert type(loaded.model) is DvseForCausalLM
    assert type(loaded.model.model.layers[0].mlp.down_proj) is layer
    assert type(loaded.model.lm_head) is not layer
    again = pickle.loads(pickle.dumps(loaded))
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(again.model(ids).logits, loaded.model(ids).logits)


def test_a_directory_that_is_quantized_loads_as_it_is(random_model, tmp_path):
    loaded = load_model(random_model, quantize="int8")
    folder = save_model(loaded.model, "tiny", tmp_path / "small")
    again = load_to_answer(folder)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(again.model(ids).logits, loaded.model(ids).logits)
    (folder / "model.safetensors").unlink()  # refused before it would be missed
    with pytest.raises(ConfigError, match="quantized already; leave --quantize out"):
        load_model(folder, quantize="int4")


def test_what_is_refused(random_model):
    with pytest.raises(ConfigError, match="expected int8 or int4, received 'int3'"):
        load_model(random_model, quantize="int3")
    with pytest.raises(ConfigError, match=r"divides rows of \[32, 48\] weights: choose int8"):
        load_model(random_model, quantize="int4")
    with pytest.raises(ConfigError, match="quantized weights are not split"):
        LoadingConfig(quantize="int8", tensor_parallel=2)


def test_captions_from_the_shell(tmp_path, capsys):
    from dvse.storage.finding import SHIPPED

    picture = str(SHIPPED / "tiny/samples/cat.png")
    assert main(["caption", picture, "--quantize", "int8"]) == 0
    assert capsys.readouterr().out == "a drawing of a cat\n"
