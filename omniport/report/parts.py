"""Headings, tables and reasons that reports are put together from."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from omniport.plan.model import Why

UNFOLDED = 2_000  # columns: wider than any row


def print_parts(parts: Iterable[RenderableType], console: Console) -> None:
    """Print parts.  Where the output is no terminal every row is one line, however long, for grep and diff."""
    if console.is_terminal:
        for part in parts:
            console.print(part)
        return
    wide = Console(file=io.StringIO(), width=UNFOLDED, highlight=False)
    with wide.capture() as captured:
        for part in parts:
            wide.print(part)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def place(why: Why) -> str:
    """``file:line`` of a reason, the file alone where the whole of it is the evidence, empty without either."""
    return f"{why.file}:{why.line}" if why.file and why.line else why.file


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Why]]) -> Iterator[RenderableType]:
    """A titled table with its number of rows; nothing at all without rows."""
    rows = list(rows)
    if not rows:
        return
    shown = Table(title=f"{title} ({len(rows)})", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold", header_style="dim")
    for row in rows:
        shown.add_row(*(reason(cell) if isinstance(cell, Why) else Text(cell) for cell in row))
    yield shown
    yield Text()


def grid(pairs: Sequence[tuple[str, str]]) -> Table:
    shown = Table.grid(padding=(0, 2))
    for name, value in pairs:
        shown.add_row(Text(name, style="dim"), Text(value))
    return shown


def reason(why: Why) -> Text:
    """The reason and where it stands, as text that is no markup, whatever the source says."""
    return Text.assemble(why.reason, (f"  {place(why)}" if place(why) else "", "dim"))


def heading(title: str, note: str = "") -> Text:
    return Text.assemble((title, "bold cyan"), (f"  {note}" if note else "", "dim"))
