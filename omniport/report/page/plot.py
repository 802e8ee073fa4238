"""Relative errors of the blocks as a plot: where a port begins to differ from its reference, and how much."""

from __future__ import annotations

from math import inf, isfinite, log10

from omniport.report.page.svg import Markup, element, text
from omniport.verify.results import BlockError

WIDTH, HEIGHT = 1000, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 16, 70
ZERO = 26  # pixels below the axis' lowest decade where an error of exactly 0 stands


def error_plot(runs: dict[str, list[BlockError]], limit: float) -> Markup:
    """An SVG with one series per run; ``limit`` is what the outputs of the transformer may differ by."""
    names = list(dict.fromkeys(row.block for rows in runs.values() for row in rows))
    values = [row.error for rows in runs.values() for row in rows if row.error is not None]
    high = max([-4, *(log10(v) for v in values if isfinite(v) and v > 0)])
    low = min([-8, *(log10(v) for v in values if isfinite(v) and v > 0)])
    top, bottom = int(-(-high // 1)), int(low // 1)
    floor = HEIGHT - BOTTOM - ZERO

    def height(value: float) -> float:
        if value == 0:
            return HEIGHT - BOTTOM - 6
        power = log10(value) if isfinite(value) else inf
        return max(TOP, floor - (min(power, top) - bottom) / (top - bottom) * (floor - TOP))

    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    middle = {name: LEFT + step * (i + 0.5) for i, name in enumerate(names)}
    parts = [element("title", "Relative error of what each block gives back, against the reference")]
    every = max(1, (top - bottom) // 8)
    for power in range(bottom, top + 1, every):
        y = height(10.0**power)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(text(LEFT - 8, y + 4, f"1e{power}", "tick", text_anchor="end"))
    zero = height(0.0)
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=zero, y2=zero, class_="grid"))
    parts.append(text(LEFT - 8, zero + 4, "0", "tick", text_anchor="end"))
    line = height(limit)
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=line, y2=line, class_="limit"))
    parts.append(text(WIDTH - RIGHT, line - 5, f"limit of the outputs {limit:.0e}", "limit-label", text_anchor="end"))
    parts += _axis(names, middle, step)
    for number, rows in enumerate(runs.values()):
        parts += _series(number, rows, middle, height, len(runs), step)
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="plot", width=WIDTH, height=HEIGHT
    )


def mark(number: int, x: float, y: float, title: str = "") -> Markup:
    """The mark of a series: a form and a colour of its own."""
    class_ = f"series{number % 6}"
    inner = [element("title", title)] if title else []
    if number % 3 == 0:
        return element("circle", *inner, cx=x, cy=y, r=4, class_=class_)
    if number % 3 == 1:
        return element("rect", *inner, x=x - 3.5, y=y - 3.5, width=7, height=7, class_=class_)
    return element("path", *inner, d=f"M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z", class_=class_)


def shown(error: float | None) -> str:
    """An error in figures."""
    return "not comparable" if error is None else "0" if error == 0 else f"{error:.1e}"


def _axis(names: list[str], middle: dict[str, float], step: float) -> list[Markup]:
    """Numbers of the blocks, and the names of their lists below."""
    parts: list[Markup] = []
    lists: dict[str, list[str]] = {}
    for name in names:
        lists.setdefault(name.rpartition(".")[0], []).append(name)
    every = max(1, round(24 / step))
    for attribute, members in lists.items():
        first, last = middle[members[0]] - step / 2, middle[members[-1]] + step / 2
        room = int((last - first) / 7)
        for name in members[::every]:
            parts.append(
                text(middle[name], HEIGHT - BOTTOM + 18, name.rpartition(".")[2], "tick", text_anchor="middle")
            )
        y = HEIGHT - BOTTOM + 28
        parts.append(element("line", x1=first + 4, x2=last - 4, y1=y, y2=y, class_="axis"))
        parts.append(text((first + last) / 2, y + 17, attribute, "name", max(4, room), text_anchor="middle"))
    return parts


def _series(number: int, rows: list[BlockError], middle: dict[str, float], height, runs: int, step: float):  # type: ignore[no-untyped-def]
    shift = min(9.0, step / (runs + 1)) * (number - (runs - 1) / 2)
    for row in rows:
        if row.error is not None:
            title = f"{row.block}: {shown(row.error)}"
            yield mark(number, middle[row.block] + shift, height(abs(row.error)), title)
