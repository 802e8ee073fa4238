"""What is going on while a command works, on standard error: a moving line on a terminal, plain lines elsewhere.

Rooms say what they do with :func:`say`, which costs nothing where nobody looks; rich is imported when the first word is
shown.  ``--quiet`` shows nothing at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TextIO

from omniport.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Mode = Literal["quiet", "plain", "terminal"]


class Progress:
    """The progress of one command; ``total`` is how many steps it has, None if nobody knows."""

    def __init__(self, mode: Mode, total: int | None = None, stream: TextIO | None = None) -> None:
        self.mode, self.total = mode, total
        self._stream = stream if stream is not None else sys.stderr
        self._bar: Bar | None = None
        self._task = 0
        self._done = 0

    def say(self, text: str) -> None:
        """What is being done now: shown on a terminal alone, until the next word."""
        if self.mode == "terminal":
            self._shown().update(self._task, description=_markup(text))  # type: ignore[arg-type]

    def step(self, text: str) -> None:
        """A step that is done: the bar moves, and where there is none a line is printed."""
        self._done += 1
        if self.mode == "terminal":
            self._shown().advance(self._task)  # type: ignore[arg-type]
        elif self.mode == "plain":
            count = f"[{self._done}/{self.total}] " if self.total else ""
            print(count + printable(text), file=self._stream, flush=True)

    def close(self) -> None:
        """Take the moving line away."""
        if self._bar is not None:
            self._bar.stop()

    def _shown(self) -> Bar:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            counted = [BarColumn(bar_width=24), MofNCompleteColumn()] if self.total else []
            columns = (SpinnerColumn(), *counted, TextColumn("{task.description}"), TimeElapsedColumn())
            console = Console(file=self._stream, highlight=False)
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task("", total=self.total)
            self._bar.start()
        return self._bar


_current: list[Progress] = []


def say(text: str) -> None:
    """What is being done now, for whoever looks."""
    if _current:
        _current[-1].say(text)


@contextmanager
def shown(*, quiet: bool = False, total: int | None = None) -> Iterator[Progress]:
    """Show the progress of what runs inside."""
    progress = Progress(mode_of(sys.stderr, quiet=quiet), total)
    _current.append(progress)
    try:
        yield progress
    finally:
        _current.pop()
        progress.close()


def mode_of(stream: TextIO, *, quiet: bool) -> Mode:
    """How progress is shown on ``stream``."""
    if quiet:
        return "quiet"
    return "terminal" if stream.isatty() and os.environ.get("TERM") != "dumb" else "plain"


def _markup(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
