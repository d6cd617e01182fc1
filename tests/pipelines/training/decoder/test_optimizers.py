"""Optimisers of other libraries: asked for before anything is loaded, run where they are."""

import importlib.util

import pytest
from transformers import trainer_optimizer
from transformers.training_args import OptimizerNames

from dvse.errors import ConfigError, MissingExtraError
from pipelines.training.decoder.optimizers import check_optimizer, library_of


@pytest.mark.parametrize("name", [str(one.value) for one in OptimizerNames])
def test_the_library_is_the_trainers(name):
    theirs = {
        "bitsandbytes": trainer_optimizer._BITSANDBYTES_OPTIMIZERS,
        "torchao": trainer_optimizer._TORCHAO_OPTIMIZERS,
    }
    expected = [library for library, names in theirs.items() if OptimizerNames(name) in names]
    assert library_of(name) == (expected[0] if expected else None)


def test_what_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_optimizer("adamw_torch_fused")
    with pytest.raises(MissingExtraError, match=r"^bitsandbytes is not .*dvse\[optimizers\]'$"):
        check_optimizer("adamw_bnb_8bit")
    with pytest.raises(ConfigError, match=r"did you mean 'adamw_torch_fused'.*'adam_torch_fused'"):
        check_optimizer("adam_torch_fused")
