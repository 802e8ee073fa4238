"""The page on CPU offload lists the models that it was tried with: a row is written once ``verify`` has done so."""

from __future__ import annotations

from collections import Counter

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.pages import table_edits
from omniport.emit.edits.tables import Table, add_row, drop_rows

_FIRST = ("architecture", "examplemodels", "ditclass")
_PROOF = "layerwise"


def _wanted(table: Table) -> bool:
    return table.columns[:3] == _FIRST and any(column.startswith("layerwise") for column in table.columns)


def edits(context: Context) -> list[Edit]:
    key = context.plan.pipeline.class_name

    def cells(table: Table) -> tuple[dict[int, str], str]:
        found = {
            0: key,
            1: f"`{context.model_id}`" if context.model_id else "",
            2: f"`{context.plan.transformer.class_name}`",
        }
        layerwise = next(i for i, c in enumerate(table.columns) if c.startswith("layerwise"))
        values = table.column(layerwise)
        yes = Counter(v for v in values if v not in ("-", "\u2014", "")).most_common(1)
        no = next((v for i in range(3, layerwise) for v in table.column(i) if v in ("-", "\u2014")), "-")
        found[layerwise] = yes[0][0] if yes else "\u2713"
        attributes = next((i for i, c in enumerate(table.columns) if "block" in c), None)
        if attributes is not None:
            quoted = any('"' in cell for cell in table.column(attributes))
            names = [f'`"{b.attribute}"`' if quoted else f"`{b.attribute}`" for b in context.plan.transformer.blocks]
            found[attributes] = ", ".join(names)
        return found, no

    def add(text: str, table: Table, ours: bool) -> str:
        there = any(row[0].strip().strip("`") == key for _, row in table.rows)
        if there or not context.validated(_PROOF):
            return text
        return add_row(text, table, *cells(table))

    def drop(text: str, table: Table) -> str:
        return drop_rows(text, table, lambda row: row[0].strip("`") == key)

    return table_edits(context, _wanted, add, drop)
