"""The docs pages of a tree, read once: tables are found by what they say, wherever they stand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.tables import Table, tables

#: generated from the examples, or about contributing: neither lists the models that users may choose
_SKIPPED = ("docs/user_guide/examples/", "docs/contributing/", "docs/design/", "docs/api/")


Change = Callable[[str, Table, bool], str]


@functools.lru_cache(4)
def _pages(root: Path, stamp: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, (root / name).read_bytes().decode("utf-8", errors="replace")) for name, _ in stamp)


def docs(root: Path) -> Iterator[tuple[str, str]]:
    """Name below the root and text of each page of ``docs`` that holds a table of models."""
    found = []
    for path in sorted((root / "docs").rglob("*.md")) if (root / "docs").is_dir() else ():
        name = path.relative_to(root).as_posix()
        if not name.startswith(_SKIPPED):
            found.append((name, path.stat().st_mtime_ns))
    for name, text in _pages(root, tuple(found)):
        if "|" in text:
            yield name, text


def table_edits(
    context: Context, wanted: Callable[[Table], bool], add: Change, drop: Callable[[str, Table], str]
) -> list[Edit]:
    """One edit for each page that has a table of the kind ``wanted``.

    ``add`` is told whether the port has edited the page before, so that a row it finds there may be its own.
    """

    def every(change: Callable[[str, Table], str]) -> Callable[[str], str]:
        def run(text: str) -> str:
            count = sum(map(wanted, tables(text)))
            for number in range(count):  # a change moves the tables below it
                table = [t for t in tables(text) if wanted(t)][number]
                text = change(text, table)
            return text

        return run

    def adding(name: str) -> Callable[[str, Table], str]:
        return lambda text, table: add(text, table, name in context.recorded)

    pages = [name for name, text in docs(context.root) if any(map(wanted, tables(text)))]
    return [Edit(name, every(adding(name)), every(drop)) for name in pages]
