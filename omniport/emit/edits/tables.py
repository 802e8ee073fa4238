"""Markdown tables: found by heading and header text, given a row in the table's own style, and rid of it again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from omniport.records import dataclass

_FENCE = re.compile(r"\s*(```|~~~)")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*\Z")
_DELIMITER = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*\|?\s*\Z")
_CELL = re.compile(r"(?<!\\)\|")
_PLAIN = re.compile(r"[^a-z0-9]+")


def plain(text: str) -> str:
    """Letters and digits alone: ``**Qwen-Image**`` is ``qwenimage``, an emoji is nothing."""
    return _PLAIN.sub("", text.lower())


@dataclass(frozen=True)
class Table:
    """A table: its headings from the outermost, the text and normal form of its header cells, its rows.

    ``rows`` are line numbers (0-based) with the cells of that line; ``end`` is the line after the last row.
    """

    headings: tuple[str, ...]
    titles: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    end: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(plain(title) for title in self.titles)

    def column(self, index: int) -> list[str]:
        """The stripped cells of a column."""
        return [cells[index].strip() for _, cells in self.rows if index < len(cells)]


def cells_of(line: str) -> tuple[str, ...]:
    """The cells of a row with the blanks around them; a bar behind a backslash is no border."""
    text = line.strip()
    text = text[1:] if text.startswith("|") else text
    if text.endswith("|") and not text.endswith("\\|"):
        text = text[:-1]
    return tuple(_CELL.split(text))


def tables(text: str) -> Iterator[Table]:
    """Every table of a page, code blocks aside."""
    lines = text.splitlines()
    headings: list[tuple[int, str]] = []
    fenced = False
    at = 0
    while at < len(lines):
        line = lines[at]
        if _FENCE.match(line):
            fenced = not fenced
        found = None if fenced else _HEADING.match(line)
        if found:
            level = len(found[1])
            headings = [*((n, t) for n, t in headings if n < level), (level, found[2])]
        is_table = not fenced and "|" in line and at + 1 < len(lines) and _DELIMITER.match(lines[at + 1])
        if not is_table or "|" not in lines[at + 1]:
            at += 1
            continue
        titles = tuple(cell.strip() for cell in cells_of(line))
        end = at + 2
        while end < len(lines) and lines[end].lstrip().startswith("|"):
            end += 1
        rows = tuple((n, cells_of(lines[n])) for n in range(at + 2, end))
        yield Table(tuple(t for _, t in headings), titles, rows, end)
        at = end


def add_row(text: str, table: Table, cells: Mapping[int, str], empty: str = "") -> str:
    """``text`` with a row at the end of ``table``; ``empty`` goes where ``cells`` has nothing for a column.

    The cells are padded as those of the last row are: to the column's width if the table is aligned, else one blank.
    """
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    values = [cells.get(i, empty) for i in range(len(table.titles))]
    widths = _widths(table)
    row = "|" + "|".join(_padded(value, width) for value, width in zip(values, widths, strict=True)) + "|"
    if table.end <= len(lines) and table.end and not lines[table.end - 1].endswith("\n"):
        lines[table.end - 1] += newline
    return "".join([*lines[: table.end], row + newline, *lines[table.end :]])


def _widths(table: Table) -> list[int]:
    """The width of each column, or 0 where the table is not aligned.

    It is aligned if the cells of its first column are of one width while their texts are not.
    """
    first = [cells[0] for _, cells in table.rows]
    aligned = len({len(cell) for cell in first}) == 1 and len({len(cell.strip()) for cell in first}) > 1
    if not aligned:
        return [0] * len(table.titles)
    return [
        max((len(cells[index]) for _, cells in table.rows if index < len(cells)), default=0)
        for index in range(len(table.titles))
    ]


def _padded(value: str, width: int) -> str:
    return f" {value}".ljust(width) if width > len(value) + 1 else f" {value} " if value else " "


def drop_rows(text: str, table: Table, ours: Callable[[tuple[str, ...]], bool]) -> str:
    """``text`` without the rows of ``table`` whose stripped cells are ``ours``."""
    gone = {number for number, cells in table.rows if ours(tuple(cell.strip() for cell in cells))}
    return "".join(line for n, line in enumerate(text.splitlines(keepends=True)) if n not in gone)


def set_cells(text: str, line: int, cells: Mapping[int, str]) -> str:
    """``text`` with some cells of the row on ``line`` changed, its other cells and its padding as they are."""
    lines = text.splitlines(keepends=True)
    row = lines[line]
    old = list(cells_of(row))
    for index, value in cells.items():
        if index < len(old) and old[index].strip() != value:
            old[index] = f" {value}".ljust(len(old[index])) if value else " " * max(1, len(old[index]))
            if not old[index].endswith(" "):
                old[index] += " "
    body = row.rstrip("\r\n")
    lead = body[: len(body) - len(body.lstrip())]
    lines[line] = f"{lead}|{'|'.join(old)}|{row[len(body) :]}"
    return "".join(lines)
