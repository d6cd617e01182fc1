"""The `dvse` command: finding, help, exit codes, one line for every error."""

import argparse
import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dvse.errors import ConfigError, MissingExtraError
from dvse.version import __version__
from pipelines import cli
from pipelines.cli import COMMANDS, main

REPOSITORY = Path(cli.__file__).parents[1]


@pytest.fixture
def command(monkeypatch):
    """Replaces every command by one that calls a given function."""

    def replace(function, **attributes):
        module = SimpleNamespace(
            HELP="Do it.",
            EXAMPLES="  dvse tokenize x",
            add_arguments=lambda parser: parser.add_argument("word", nargs="?"),
            run=function,
            **attributes,
        )
        monkeypatch.setattr(cli, "import_module", lambda name: module)

    return replace


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(argv, capsys):
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for entry in COMMANDS:
        assert " ".join(entry.words) in out
        assert entry.help in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dvse {__version__}\n"


@pytest.mark.parametrize("argv", [["train"], ["train", "--help"], ["train", "-h"]])
def test_a_group_lists_its_commands(argv, capsys):
    assert main(argv) == 0
    out, _ = capsys.readouterr()
    assert "train text" in out
    assert "tokenize  " not in out


@pytest.mark.parametrize(
    ("argv", "named"),
    [(["tokenise"], "tokenise"), (["train", "video"], "train video"), (["--verbose"], "--verbose")],
)
def test_an_unknown_command_is_named_and_exits_2(argv, named, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"dvse: unknown command '{named}'\n")
    assert "usage: dvse COMMAND" in err


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: " ".join(entry.words))
def test_every_command_has_help_and_examples_that_parse(entry, capsys):
    """Examples are run through the parser: one that a user copies must not be refused."""
    module = importlib.import_module(f"pipelines.commands.{entry.module}")
    with pytest.raises(SystemExit) as caught:
        main([*entry.words, "--help"])
    assert caught.value.code == 0
    assert "examples:" in capsys.readouterr().out
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    examples = module.EXAMPLES.replace("\\\n", " ").splitlines()
    lines = [
        shlex.split(line, comments=True) for line in examples if line.strip().startswith("dvse ")
    ]
    assert lines
    for words in lines:
        assert tuple(words[1 : 1 + len(entry.words)]) == entry.words
        parser.parse_args(words[1 + len(entry.words) :])


def test_a_wrong_command_line_exits_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "text", "--no-such-option"])
    assert caught.value.code == 2
    assert "usage: dvse train text" in capsys.readouterr().err


def test_a_value_that_no_card_can_have_exits_2(capsys):
    assert main(["model-card", "9b", "--saving", "2"]) == 2
    assert "a saving from 0 to below 1" in capsys.readouterr().err
    assert main(["model-card", "no such"]) == 1


def test_options_are_not_abbreviated(capsys):
    with pytest.raises(SystemExit):
        main(["train", "text", "--dat", "x", "--output", "y"])
    assert "--data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("expected 1, received 2"), 2, "dvse tokenize: expected 1, received 2\n"),
        (MissingExtraError.for_extra("ray", "ray"), 1, "dvse tokenize: ray is not installed; "),
        (OSError(28, "No space left on device", "/x"), 1, "dvse tokenize: [Errno 28] No space"),
        (PermissionError(13, "Permission denied", "/x"), 1, "dvse tokenize: [Errno 13] Perm"),
        (KeyboardInterrupt(), 130, "dvse tokenize: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(error, code, line, command, capsys):
    def fail(args):
        raise error

    command(fail)
    assert main(["tokenize"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_our_own_mistakes_keep_their_trace(command):
    command(lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["tokenize"])


def test_the_commands_own_code_is_the_exit_code(command):
    command(lambda args: 3)
    assert main(["tokenize", "x"]) == 3


def run(program: str, *, shell_tail: str = "") -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-c", program]
    quoted = " ".join(f"'{word}'" for word in words)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", quoted + shell_tail],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"},
        check=False,
    )


PROGRAM = """
import sys
from types import SimpleNamespace
from pipelines import cli
def run(args):
    {body}
    return 0
module = SimpleNamespace(HELP="", EXAMPLES="", add_arguments=lambda parser: None, run=run)
cli.import_module = lambda name: module
sys.exit(cli.main(["tokenize"]))
"""


def test_a_closed_pipe_is_no_error():
    body = 'print("x" * 100, *range(200000), sep=chr(10))'
    done = run(PROGRAM.format(body=body), shell_tail=" | head -1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"xxx")
    assert done.stderr == b""


def test_names_that_are_not_utf8_can_be_printed():
    done = run(PROGRAM.format(body='print("cat" + chr(0xDCFF) + ".jpg")'))
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"cat\\udcff.jpg\n"


def test_commands_import_nothing_heavy_to_show_their_help():
    program = (
        "import sys\n"
        "from pipelines import cli\n"
        "for entry in cli.COMMANDS:\n"
        "    try:\n"
        '        cli.main([*entry.words, "--help"])\n'
        "    except SystemExit:\n"
        "        pass\n"
        'sys.exit(sum(name in sys.modules for name in ("torch", "transformers", "pyarrow")))\n'
    )
    done = run(program)
    assert done.returncode == 0, done.stderr
