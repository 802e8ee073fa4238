"""The table that ``verify`` ends with."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from omniport.verify.results import FeatureResult, VerifyReport

STYLES = {"validated": "green", "limited": "yellow", "unsupported": "red", "not tested": "dim"}


def verify_table(report: VerifyReport, *, details: bool = False) -> RenderableType:
    """Render a report: one row per feature; ``details`` lists every check below the table."""
    table = Table(title=f"{report.name} on the real vLLM-Omni, on CPU", title_justify="left")
    table.add_column("feature", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("rel. error", justify="right", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(
            result.feature,
            Text(result.state, style=STYLES[result.state]),
            "" if result.figure is None else f"{result.figure:.1e}",
            escape(result.reason or "; ".join(result.evidence)),
            f"{result.seconds:.1f}",
        )
    parts: list[RenderableType] = [table]
    if details:
        parts += [_checks(result) for result in report.results]
    parts += [Text(f"note: {note}", style="dim") for note in report.notes]
    counted = Counter(result.state for result in report.results)
    parts += [Text(f"{report.name}: {', '.join(f'{n} {s}' for s, n in counted.items())}", style="bold")]
    return Group(*parts)


def _checks(result: FeatureResult) -> Table:
    table = Table(title=result.feature, title_justify="left", show_edge=False)
    for column in ("check", "result", "value", "limit", "note"):
        table.add_column(column, overflow="fold")
    for check in result.checks:
        value, limit = ("" if v is None else f"{v:.3g}" for v in (check.value, check.limit))
        table.add_row(
            escape(check.name), "ok" if check.ok else Text("failed", style="red"), value, limit, escape(check.note)
        )
    return table
