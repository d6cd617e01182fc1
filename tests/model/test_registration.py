"""`import model` is free, and transformers' Auto classes know it whatever came first."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = (
    "from model import DvseConfig\n"
    "from transformers import AutoConfig, AutoModel, AutoModelForCausalLM\n"
    "c = AutoConfig.for_model('dvse', vocab_size=16, hidden_size=8, intermediate_size=8,"
    " num_hidden_layers=1, num_attention_heads=2)\n"
    "assert type(c) is DvseConfig\n"
    "assert type(AutoModel.from_config(c)).__name__ == 'DvseModel'\n"
    "assert type(AutoModelForCausalLM.from_config(c)).__name__ == 'DvseForCausalLM'\n"
)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250
    )


@pytest.mark.parametrize(
    "first",
    [
        "import sys, time\nt = time.process_time()\nimport model\n"
        "assert time.process_time() - t < 1\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "import transformers.modeling_layers  # which imports the Auto classes half way through",
        "import transformers.models.glm4_moe.modeling_glm4_moe\nimport model",
    ],
    ids=["model first", "transformers first"],
)
def test_any_order(first):
    result = run(f"{first}\n{USE}")
    assert result.returncode == 0, result.stderr


def test_every_exported_name_exists():
    import model

    for name in model.__all__:
        assert getattr(model, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = model.nothing_like_it
