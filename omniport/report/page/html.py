"""A report as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from typing import Any

from omniport.emit.render import templates
from omniport.errors import printable
from omniport.report.page import view
from omniport.report.page.facts import PortReport
from omniport.report.page.picture import tree_picture
from omniport.report.page.plot import error_plot, mark, shown
from omniport.report.page.proofs import parts
from omniport.report.page.verdict import LIMIT, verdict


def html(report: PortReport) -> str:
    """The page.  What a model's repository named is escaped wherever it stands."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    env = SandboxedEnvironment(
        loader=FileSystemLoader(templates()),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    env.filters.update(why=view.reason, error=shown, figure=_figure, folded=view.folded)
    blocks = report.blocks()
    values: dict[str, Any] = {
        "r": report,
        "states": sorted(report.states().items(), key=lambda item: item[0] != "validated"),
        "alarming": view.alarming(report),
        "origin": view.origin(report),
        "picture": tree_picture(report.tree) if report.tree else "",
        "shares": view.shares(report),
        "features": view.features(report),
        "checks": view.checks(report),
        "plot": error_plot(blocks, LIMIT) if blocks else "",
        "series": [(name, mark(i, 6, 6)) for i, name in enumerate(blocks)],
        "apart": view.not_comparable(report),
        "weights": view.weights(report),
        "decisions": view.decisions(report),
        "parts": parts(report),
        "left": view.left(report),
        "verdict": verdict(report),
    }
    return env.get_template("report/port.html.j2").render(**values)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
