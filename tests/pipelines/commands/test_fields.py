"""Flags from settings: nothing is said twice, and nothing is lost between words and values."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from pipelines.commands.fields import add_flags, from_flags
from pipelines.settings import section, setting


@dataclass(frozen=True, kw_only=True)
class Loop:
    num_steps: int = setting(100, "steps; 100 % of them count")
    rate: float = setting(2e-3, "peak")
    is_quiet: bool = setting(False, "say nothing", name="quiet")
    probe: bool = setting(True, "leave the probes out", name="probes")


@dataclass(frozen=True, kw_only=True)
class Big:
    data: tuple[Path, ...] = setting(help="files", many="words")
    hosts: tuple[str, ...] = setting((), "one more", many="again")
    lattice: tuple[int, ...] = setting((), "values")
    mode: Literal["lloyd", "faiss"] = setting("lloyd", "how")
    layer: int = setting(6, "which layer")
    loop: Loop = section(Loop(), "the loop")


@dataclass(frozen=True, kw_only=True)
class Small:
    data: tuple[Path, ...] = setting(help="a folder", many="words")
    layer: int = setting(3, "which layer")
    start: str = setting(help="where from")


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dvse")
    add_flags(parser, Big, small=Small)
    return parser


def test_every_kind_of_value(parser) -> None:
    words = "--data a b --hosts x --hosts y --lattice 8,5 --mode faiss --num-steps 5 --quiet"
    found = from_flags(Big, parser.parse_args([*words.split(), "--no-probes"]))
    assert found == Big(
        data=(Path("a"), Path("b")),
        hosts=("x", "y"),
        lattice=(8, 5),
        mode="faiss",
        loop=Loop(num_steps=5, is_quiet=True, probe=False),
    )


def test_classes_share_a_flag_and_keep_their_defaults(parser) -> None:
    args = parser.parse_args(["--data", "a", "--start", "s"])
    assert from_flags(Big, args).layer == 6
    assert from_flags(Small, args) == Small(data=(Path("a"),), layer=3, start="s")
    args = parser.parse_args(["--data", "a", "--start", "s", "--layer", "0"])
    assert from_flags(Big, args).layer == from_flags(Small, args).layer == 0


def test_help_says_defaults_choices_and_groups(parser) -> None:
    text = " ".join(parser.format_help().split())
    assert "--layer N which layer (default: 6; small: 3)" in text
    assert "--num-steps N steps; 100 % of them count (default: 100)" in text
    assert "--mode {lloyd,faiss} how (default: lloyd)" in text
    assert "the loop: --num-steps" in text
    assert "--quiet say nothing --no-probes leave the probes out" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: --data"),
        (["--data", "a", "--lattice", "8,x"], "numbers with commas between"),
        (["--data", "a", "--mode", "gpu"], "invalid choice"),
        (["--data", "a", "--num-steps", "many"], "invalid int"),
    ],
)
def test_wrong_words_end_with_two(parser, capsys, words, message) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
