import pytest
import torch

from dvse.errors import TrainingError
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint


def test_round_trip_and_identity(tmp_path):
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, {"seed": 1}) is None
    save_checkpoint(path, {"seed": 1}, {"weights": torch.arange(3), "epoch": 2})
    state = load_checkpoint(path, {"seed": 1})
    assert state["epoch"] == 2 and state["weights"].tolist() == [0, 1, 2]
    for other in ({"seed": 2}, {}, {"seed": 1, "size": 4}):
        with pytest.raises(TrainingError, match="same settings"):
            load_checkpoint(path, other)


def test_a_failed_write_leaves_the_older_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {}, {"epoch": 1})

    def full_disk(_document, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(TrainingError, match="No space"):
        save_checkpoint(path, {}, {"epoch": 2})
    assert load_checkpoint(path, {})["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_damaged(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="delete it"):
        load_checkpoint(path, {})
