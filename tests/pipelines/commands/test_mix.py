"""`dvse mix`: the table is what the mixture then gives, and mistakes are one sentence."""

from token_folder import write_folder

from dvse import Mixture
from pipelines.cli import main


def test_the_table_says_what_the_mixture_holds(tmp_path, capsys):
    large, small = tmp_path / "large", tmp_path / "small"
    rows = write_folder(large, num_shards=4), write_folder(small, num_shards=1)
    sizes = [sum(len(row["ids"]) for row in some) for some in rows]
    command = ["mix", f"{large}:0.5", f"{small}:0.5", "--length", "16", "--ids", "16000"]
    assert main(command) == 0
    head, first, second, modalities = capsys.readouterr().out.splitlines()
    assert head.split() == ["share", "documents", "ids", "windows", "ids", "in", "it", "epochs"]
    for line, folder, some, size in zip((first, second), (large, small), rows, sizes, strict=True):
        expected = [str(folder), "50.0%", f"{len(some):,}", f"{size:,}", "500", "8,000"]
        assert line.split() == [*expected, f"{8000 / size:.2f}"]
    mixture = Mixture([(large, 0.5), (small, 0.5)], length=16, num_ids=16_000, batch_size=1)
    assert sum(batch.input_ids.numel() for batch in mixture) == 16_000
    assert modalities.startswith("ids by modality: audio ")


def test_modalities_and_mistakes(tmp_path, capsys):
    write_folder(tmp_path / "t")
    folder = str(tmp_path / "t")
    assert main(["mix", f"{folder}@image:1", f"{folder}@text:3", "--length", "8"]) == 0
    assert "75.0%" in capsys.readouterr().out
    write_folder(tmp_path / "other", bundle="c")
    for sets, code, message in (
        ([folder], 2, "expected DIR:SHARE"),
        ([f"{folder}:1", f"{folder}@video:1"], 1, "t (video): expected at least one row with ids"),
        ([f"{folder}:-1"], 2, "share above 0"),
        ([f"{tmp_path / 'nothing'}:1"], 1, "found none"),
        ([f"{folder}:1", f"{tmp_path / 'other'}:1"], 2, "their ids do not mean the same"),
    ):
        assert main(["mix", *sets]) == code, sets
        assert message in capsys.readouterr().err
