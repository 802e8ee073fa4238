"""What ``--help`` says: a line for each command that is not cut off, and examples that the command itself takes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from omniport.cli import app
from omniport.examples import EXAMPLES
from omniport.verify.features import FEATURES

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
ALL = [(command, line) for command, lines in EXAMPLES.items() for line in lines]


def parse(words: Sequence[str]) -> None:
    """Read a command line as the command would, and run nothing."""
    group = get_command(app)
    group.commands[words[0]].make_context(words[0], list(words[1:]))  # type: ignore[attr-defined]


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"]).stdout


def test_every_command_has_examples() -> None:
    assert sorted(EXAMPLES) == COMMANDS


@pytest.mark.parametrize(("command", "line"), ALL, ids=[line for _, line in ALL])
def test_an_example_is_a_command_line_of_its_command(command: str, line: str) -> None:
    words = shlex.split(line)
    assert words[:2] == ["omniport", command]
    parse(words[1:])
    assert f"\n    {line}\n" in help_of(command)


def test_an_example_that_is_none_is_seen() -> None:
    """The broken twins: an option that the command does not have, and an argument too many."""
    with pytest.raises(Exception, match="No such option: --reports"):
        parse(["verify", "my-port", "--reports", "port.html"])
    with pytest.raises(Exception, match="unexpected extra argument"):
        parse(["plan", "a", "b"])


def test_no_command_is_described_by_half_a_sentence() -> None:
    text = help_of()
    listed = text[text.index("Commands:") :].splitlines()[1:]
    assert [line.split()[0] for line in listed] == [*EXAMPLES]
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_the_help_of_verify_names_every_feature() -> None:
    text = " ".join(help_of("verify").split())
    assert f"use commas: {', '.join(FEATURES)}." in text
