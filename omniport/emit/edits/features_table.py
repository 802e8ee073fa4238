"""The tables of features by model, on whatever page they stand: a cell is ticked where ``verify`` has validated it."""

from __future__ import annotations

import re

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.pages import table_edits
from omniport.emit.edits.tables import Table, add_row, drop_rows, plain, set_cells
from omniport.emit.render import markdown

YES, NO, UNKNOWN = "\u2705", "\u274c", "\u2753"

#: column -> features of ``verify`` that must all be validated; none where nothing proves it yet
PROOFS: dict[str, tuple[str, ...]] = {
    "teacache": (),
    "cachedit": ("cache",),
    "spulyssesring": ("sp2", "ring2"),
    "ulyssessp": ("sp2",),
    "ringattention": ("ring2",),
    "ringsp": ("ring2",),
    "cfgparallel": ("cfg2",),
    "tensorparallel": ("tp2",),
    "pipelineparallel": ("pp2",),
    "hsdp": ("hsdp2",),
    "cpuoffloadlayerwise": ("layerwise",),
    "vaepatchparallel": (),
    "quantization": ("quant",),
    "stepexecution": (),
    "expertparallel": (),
}

#: column -> feature of the plan; a port that does not declare it has nothing that could be tried
_DECLARED = {
    "cachedit": "cache-dit",
    "spulyssesring": "sequence parallelism",
    "ulyssessp": "sequence parallelism",
    "ringattention": "sequence parallelism",
    "ringsp": "sequence parallelism",
    "tensorparallel": "tensor parallelism",
    "pipelineparallel": "pipeline parallelism",
    "hsdp": "hsdp",
    "cpuoffloadlayerwise": "layerwise offload",
}
_KINDS = {"image": "imagegen", "video": "videogen", "audio": "audiogen"}
_OURS = re.compile(f"[{YES}{NO}{UNKNOWN}]?\\Z")
_KNOWN = 3  # a table with so many columns that are known is one of features


def edits(context: Context) -> list[Edit]:
    kind = _KINDS.get(context.plan.pipeline.output)
    if kind is None:
        return []  # which table is the model's is not known
    name = f"**{markdown(context.display)}**"

    def wanted(table: Table) -> bool:
        known = sum(column in PROOFS for column in table.columns)
        return (
            table.columns[:1] == ("model",)
            and known >= _KNOWN
            and bool(table.headings)
            and kind in plain(table.headings[-1])
        )

    def add(text: str, table: Table, ours: bool) -> str:
        cells = _cells(context, table, name, UNKNOWN in text)
        place = next((n for n, row in table.rows if plain(row[0]) == plain(name)), None)
        if place is None:
            return add_row(text, table, cells, NO)
        if not ours:
            return text
        row = next(row for n, row in table.rows if n == place)
        renewed = {
            i: value
            for i, value in cells.items()
            if i and i < len(row) and table.columns[i] in PROOFS and _OURS.match(row[i].strip())
        }
        return set_cells(text, place, renewed)

    def drop(text: str, table: Table) -> str:
        return drop_rows(text, table, lambda row: row[0] == name)

    return table_edits(context, wanted, add, drop)


def _cells(context: Context, table: Table, name: str, unknown: bool) -> dict[int, str]:
    cells = {0: name}
    for index, column in enumerate(table.columns):
        if column == "modelidentifier":
            cells[index] = f"`{context.model_id}`" if context.model_id else ""
        elif column == "expertparallel" and "N/A" in table.column(index):
            cells[index] = "N/A"
        elif column in PROOFS:
            cells[index] = _mark(context, column, unknown)
    return cells


def _mark(context: Context, column: str, unknown: bool) -> str:
    """What the cell may say: validated, not declared, or declared and not tried, in the symbols of the page."""
    if context.validated(*PROOFS[column]):
        return YES
    declared = context.supports(_DECLARED[column]) if column in _DECLARED else False
    if column == "cfgparallel":
        declared = context.guided
    return UNKNOWN if declared and unknown else NO
