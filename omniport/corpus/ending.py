"""What the two corpus runs share at the command line: their options, and what follows when a run is over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from omniport.corpus.goldens import Planned, differing, update_goldens
from omniport.corpus.results import CorpusReport
from omniport.corpus.table import to_json


def options_of_a_run(prog: str, description: str | None, tree: Path) -> argparse.ArgumentParser:
    """A parser with the options that both runs take; ``tree`` is the default folder to port into."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--tree", type=Path, default=tree, help="folder to port into, written anew")
    parser.add_argument("--source", type=Path, help="another diffusers: a checkout, or a folder that holds the package")
    parser.add_argument("--only", action="append", default=[], metavar="CLASS", help="this class only; may be repeated")
    parser.add_argument("--json", type=Path, help="write the report as JSON")
    parser.add_argument("--markdown", type=Path, help="write the report as Markdown")
    parser.add_argument("--goldens", type=Path, help="folder of plan goldens to compare with")
    parser.add_argument("--update-goldens", action="store_true", help="write the goldens instead of comparing")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def conclude(
    options: argparse.Namespace,
    report: CorpusReport,
    produced: Iterable[Planned],
    *,
    table: Callable[[CorpusReport], Table],
    summary: Callable[[CorpusReport], list[str]],
    markdown: Callable[[CorpusReport], str],
) -> int:
    """Print and write what a run found; 0 if every class passes every stage and every golden holds, 1 if not."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(report))
    console.print("\n".join(["", *summary(report), f"{report.seconds:.0f} s"]), highlight=False)
    if options.json:
        options.json.write_text(to_json(report), "utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(report), "utf-8")
    changed: list[str] = []
    if options.goldens and options.update_goldens:
        update_goldens(options.goldens, produced)
    elif options.goldens:
        changed = differing(options.goldens, produced)
        if changed:
            print(f"plans differ from their goldens (renew with --update-goldens): {', '.join(changed)}")
    return int(bool(changed) or report.ok < len(report.classes))
