"""What the commands print: tables, JSON and errors, with everything heavy imported inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from omniport.errors import OmniportError

if TYPE_CHECKING:
    from rich.console import Console


def print_json(data: object) -> None:
    from json import dumps

    typer.echo(dumps(data, indent=2))


def print_plan(plan: object) -> None:
    from omniport.plan.serial import dumps

    typer.echo(dumps(plan), nl=False)


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and writes no escape codes to a file or a pipe."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=stderr)


def show_error(error: OmniportError) -> None:
    from rich.text import Text

    console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)))
