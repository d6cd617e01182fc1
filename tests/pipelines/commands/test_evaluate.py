import pytest

from pipelines.cli import COMMANDS, main


def test_help_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "--help"])
    shown = capsys.readouterr().out
    assert "3 a threshold is missed" in shown
    assert "evaluation.json" in shown
    assert ("evaluate",) in [command.words for command in COMMANDS]


def test_errors_are_one_line(capsys, tmp_path):
    assert main(["evaluate", "nothing", "--data", str(tmp_path), "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dvse evaluate: no bundle 'nothing'")
    assert "Traceback" not in error
