"""A decoder saved by transformers, and the same one loaded without it."""

import pytest

from model import DvseForCausalLM
from model.plain.loading import load_plain


@pytest.fixture
def both(make_model, tmp_path):
    """Call it with fields: the full decoder, and the plain one from its directory."""

    def load(dtype=None, **fields):
        make_model(**fields).save_pretrained(tmp_path / "saved")
        plain = load_plain(tmp_path / "saved", dtype=dtype)
        assert plain is not None
        full = DvseForCausalLM.from_pretrained(tmp_path / "saved", dtype=dtype or "auto")
        for parameter in full.parameters():  # mapped: where it begins moves the last bit
            parameter.data = parameter.data.clone()
        return full.eval(), plain

    return load
