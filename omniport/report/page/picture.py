"""The module tree as a picture: which layers ranks share, and where tokens are split and gathered."""

from __future__ import annotations

from omniport.report.page.rows import WORDS, Row, rows
from omniport.report.page.svg import Markup, element, text
from omniport.verify.results import ModuleNode

WIDTH, LINE, TOP = 1016, 21, 28
TREE, SIZE, GLYPH, MEANING = 30, 594, 610, 676  # left ends of the columns; the sizes end at theirs
INDENT = 17
CHARACTER = 6.7  # width of one in the monospace font of 11 pixels


def tree_picture(tree: ModuleNode) -> Markup:
    """An SVG of the tree."""
    lines = rows(tree)
    height = TOP + LINE * len(lines) + 6
    parts = [element("title", f"Modules of {tree.class_name}, their sharding and their split points")]
    for x, what in ((TREE, "module"), (GLYPH, "on 2 ranks"), (MEANING, "what the ranks do")):
        parts.append(text(x, 14, what, "head"))
    parts.append(text(SIZE, 14, "parameters", "head", text_anchor="end"))
    parts += [_band(lines), *_branches(lines)]
    for i, row in enumerate(lines):
        parts += _row(row, TOP + LINE * i)
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", class_="tree", width=WIDTH, height=height
    )


def _row(row: Row, top: float) -> list[Markup]:
    base = top + 14
    left = TREE + INDENT * row.depth
    room = int((SIZE - 62 - left) / CHARACTER)
    times = f" ×{row.count}" if row.count > 1 else ""
    name = row.name[: max(8, room - len(times))] + times
    parts = [text(left, base, name, "name")]
    if room - len(name) > 9:
        parts.append(text(left + CHARACTER * (len(name) + 1.5), base, row.class_name, "class", room - len(name) - 2))
    if row.parameters:
        parts.append(text(SIZE, base, size(row.parameters), "size", text_anchor="end"))
    words = [WORDS[row.kind]] if row.kind in WORDS else []
    parts += _glyph(row.kind, top + 4)
    for kind in ("split", "gather"):
        found = dict.fromkeys(split.what for split in row.splits if split.kind == kind)
        if found:
            words.append(f"{kind} {', '.join(found)}")
    if words:
        class_ = "split" if row.splits else "words"
        parts.append(text(MEANING, base, " · ".join(words), class_, int((WIDTH - MEANING) / 7.6)))
    return parts


def _glyph(kind: str, top: float) -> list[Markup]:
    """Two ranks' shares of a layer: halves beside each other for its output, above each other for its input."""
    if kind not in WORDS:
        return []
    box = {"width": 48, "height": 13}
    if kind == "replicated":
        return [element("rect", x=GLYPH, y=top, class_="whole", **box)]
    if kind == "attention":
        return [
            element("rect", x=GLYPH + 12 * i + 1, y=top, width=10, height=13, class_=f"rank{i // 2}") for i in range(4)
        ]
    if kind in ("row", "scattered"):
        halves = [element("rect", x=GLYPH, y=top + 6.5 * i, width=48, height=6.5, class_=f"rank{i}") for i in range(2)]
        return [*halves, text(GLYPH + 51, top + 11, "Σ", "sum")]
    halves = [element("rect", x=GLYPH + 24 * i, y=top, width=24, height=13, class_=f"rank{i}") for i in range(2)]
    if kind == "gathered":
        halves.append(text(GLYPH + 51, top + 11, "∪", "sum"))
    return halves


def _branches(lines: list[Row]) -> list[Markup]:
    """The lines between a module and its children."""
    parts = []
    for i, row in enumerate(lines):
        if not row.depth:
            continue
        x, y = TREE + INDENT * (row.depth - 1) + 5, TOP + LINE * i + 10
        above = next(j for j in range(i - 1, -1, -1) if lines[j].depth <= row.depth)
        start = TOP + LINE * above + (18 if lines[above].depth < row.depth else 10)
        parts.append(element("path", d=f"M{x} {start}V{y}H{x + 9}", class_="branch"))
    return parts


def _band(lines: list[Row]) -> Markup:
    """The modules that run on a rank's share of the tokens."""
    shared = [i for i, row in enumerate(lines) if row.shared]
    if not shared:
        return Markup("")
    top, bottom = TOP + LINE * shared[0] + 2, TOP + LINE * (shared[-1] + 1) - 2
    middle = (top + bottom) / 2
    label = text(15, middle, "on a rank's share of the tokens", "band-label", transform=f"rotate(-90 15 {middle:.1f})")
    return Markup(
        element("rect", x=4, y=top, width=WIDTH - 8, height=bottom - top, rx=4, class_="band")
        + element("rect", x=4, y=top, width=16, height=bottom - top, rx=4, class_="band-side")
        + label
    )


def size(number: int) -> str:
    """A number of parameters, short."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return str(number)
