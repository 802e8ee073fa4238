"""The list of supported models: one row, with a mark for no hardware, for none of it has been tried."""

from __future__ import annotations

from collections import Counter

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.pages import table_edits
from omniport.emit.edits.tables import Table, add_row, drop_rows, plain
from omniport.emit.render import markdown

_COLUMNS = ("architecture", "models", "examplehfmodels")


def _wanted(table: Table) -> bool:
    listed = any(plain(h).startswith("listofsupportedmodels") for h in table.headings)
    return listed and table.columns[:3] == _COLUMNS


def edits(context: Context) -> list[Edit]:
    name = f"`{context.architecture}`"

    def cells(table: Table) -> dict[int, str]:
        found = {0: name, 1: markdown(context.display), 2: f"`{context.model_id}`" if context.model_id else ""}
        for index, title in enumerate(table.columns):
            if title == "recipe":
                empty = [c for c in table.column(index) if not c.startswith("[")]
                found[index] = Counter(empty).most_common(1)[0][0] if empty else ""
        return found

    def add(text: str, table: Table, ours: bool) -> str:
        there = any(name in row[0] for _, row in table.rows)
        return text if there else add_row(text, table, cells(table))

    def drop(text: str, table: Table) -> str:
        return drop_rows(text, table, lambda row: row[0] == name and row[1] == markdown(context.display))

    return table_edits(context, _wanted, add, drop)
