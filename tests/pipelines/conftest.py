import sys
from pathlib import Path

import pytest

# Helpers that spawned workers have to import by name, too.
sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture(scope="session")
def random_model(tmp_path_factory) -> Path:
    """A model directory on the shipped bundle whose small decoder has random weights."""
    from small_model import save_small_model

    return save_small_model(tmp_path_factory.mktemp("models") / "random")
