"""The row, or the item, of a port's recipe in ``recipes/README.md``."""

from __future__ import annotations

import re

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.tables import Table, add_row, drop_rows, plain, tables

_FILE = "recipes/README.md"
_UNTRIED = "not tested yet"
_ITEM = re.compile(r"- \[`[^`]+`\]\(\./[^)]+\)")


def recipe_path(context: Context) -> str:
    """``recipes/<Vendor>/<Model>.md``, or empty where the tree keeps no recipes or no checkpoint is known.

    A folder of the vendor that differs in case only is taken.
    """
    folder = context.root / "recipes"
    if not context.model_id or not (context.root / _FILE).is_file():
        return ""
    vendor, _, model = context.model_id.partition("/")
    known = next((p.name for p in sorted(folder.iterdir()) if p.is_dir() and plain(p.name) == plain(vendor)), vendor)
    return f"recipes/{known}/{model}.md"


def _wanted(table: Table) -> bool:
    return table.columns[:2] == ("recipe", "task")


def edits(context: Context) -> list[Edit]:
    path = recipe_path(context)
    if not path:
        return []
    name = path.removeprefix("recipes/")
    link = f"[`{name}`](./{name})"
    task = context.task.replace("-", " ").capitalize()

    def add(text: str) -> str:
        if link in text:
            return text
        table = next(filter(_wanted, tables(text)), None)
        if table is not None:
            cells = {0: link, 1: task, **{i: _UNTRIED for i, c in enumerate(table.columns) if c == "hardware"}}
            return add_row(text, table, cells)
        return _add_item(text, f"- {link}: {context.task} serving recipe for {context.display}, {_UNTRIED}")

    def drop(text: str) -> str:
        table = next(filter(_wanted, tables(text)), None)
        if table is not None:
            return drop_rows(text, table, lambda row: row[0] == link)
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(f"- {link}:"))

    return [Edit(_FILE, add, drop)]


def _add_item(text: str, item: str) -> str:
    """``text`` with ``item`` behind the last item of the list of recipes; unchanged where there is no such list."""
    lines = text.splitlines(keepends=True)
    last = max((n for n, line in enumerate(lines) if _ITEM.match(line)), default=None)
    if last is None:
        return text
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    end = last + 1
    while end < len(lines) and lines[end].startswith("  ") and lines[end].strip():
        end += 1
    return "".join([*lines[:end], item + newline, *lines[end:]])
