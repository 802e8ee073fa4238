"""``python -m omniport.corpus``: see :mod:`omniport.corpus.run`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from omniport import progress
from omniport.corpus.goldens import differing, update_goldens
from omniport.corpus.results import FEATURES
from omniport.corpus.run import run_corpus
from omniport.corpus.sharding import sharding_page
from omniport.corpus.table import corpus_table, summary, to_json, to_markdown
from omniport.errors import OmniportError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m omniport.corpus", description=__doc__)
    parser.add_argument("--tree", type=Path, default=Path(".corpus/tree"), help="folder to port into, written anew")
    parser.add_argument("--source", type=Path, help="another diffusers: a checkout, or a folder that holds the package")
    parser.add_argument("--only", action="append", default=[], metavar="CLASS", help="this class only; may be repeated")
    parser.add_argument("--features", action="store_true", help="try every feature of each port, too")
    parser.add_argument(
        "--feature", action="append", default=[], choices=FEATURES, help="this feature only; repeatable"
    )
    parser.add_argument("--tensor", type=Path, help="write the page on tensor parallelism (features tp2 and tp4)")
    parser.add_argument("--json", type=Path, help="write the report as JSON")
    parser.add_argument("--markdown", type=Path, help="write the report as Markdown")
    parser.add_argument("--goldens", type=Path, help="folder of plan goldens to compare with")
    parser.add_argument("--update-goldens", action="store_true", help="write the goldens instead of comparing")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser.parse_args()


def _features(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in FEATURES if options.features or name in options.feature)


def main() -> int:
    """Run the corpus; 0 if every class passes every stage and every golden holds, 1 if not, 2 if it cannot be run."""
    options = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        with progress.shown(quiet=options.quiet) as shown:
            report, produced = run_corpus(
                options.tree,
                source=options.source,
                only=tuple(options.only),
                features=_features(options),
                on_class=lambda name: shown.step(f"{name} verified"),
            )
    except OmniportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    console.print(corpus_table(report))
    console.print("\n".join(["", *summary(report), f"{report.seconds:.0f} s"]), highlight=False)
    if options.json:
        options.json.write_text(to_json(report), "utf-8")
    if options.markdown:
        options.markdown.write_text(to_markdown(report), "utf-8")
    if options.tensor:
        options.tensor.write_text("\n".join(sharding_page(report)) + "\n", "utf-8")
    changed: list[str] = []
    if options.goldens and options.update_goldens:
        update_goldens(options.goldens, produced.values())
    elif options.goldens:
        changed = differing(options.goldens, produced.values())
        if changed:
            print(f"plans differ from their goldens (renew with --update-goldens): {', '.join(changed)}")
    return int(report.ok < len(report.classes) or bool(changed))


if __name__ == "__main__":
    sys.exit(main())
