"""The tables of the docs page on features: which cells it ticks for which model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.check.declared import FEATURES
from omniport.check.port import Port
from omniport.records import dataclass

_TICK = "\u2705"  # with or without a variation selector, and with a remark behind it
_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Row:
    """A model's row: the 1-based line it stands on, its text, and its cells by feature."""

    line: int
    text: str
    model: str
    cells: dict[str, str]

    def claims(self) -> list[str]:
        """The features that the row ticks."""
        return [feature for feature, cell in self.cells.items() if cell.startswith(_TICK)]


def rows(page: str) -> Iterator[Row]:
    """The rows of every table of the page whose first column is headed ``Model`` and that has known columns."""
    headings = {_plain(title): feature for feature, title in FEATURES.items()}
    columns: dict[int, str] = {}
    for number, text in enumerate(page.splitlines(), start=1):
        if not text.lstrip().startswith("|"):
            columns = {}
            continue
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        if _plain(cells[0]) == "model":
            columns = {i: headings[_plain(c)] for i, c in enumerate(cells) if _plain(c) in headings}
        elif columns and not set(text) <= set("|-: "):
            yield Row(number, text.strip(), cells[0], {f: cells[i] for i, f in columns.items() if i < len(cells)})


def rows_of(port: Port) -> list[Row]:
    """The rows of a port's own models: those whose name is that of its folder, or of a class it registers."""
    tree = port.tree
    if tree is None or not tree.features_page:
        return []
    names = {_plain(port.name), *(_plain(key.removesuffix("Pipeline")) for key in tree.keys_of(port.name))}
    return [row for row in rows(tree.features_page) if _plain(row.model) in names]


def _plain(text: str) -> str:
    """Letters and digits alone: ``**Qwen-Image**`` is ``qwenimage``."""
    return _WORDS.sub("", text.lower())
