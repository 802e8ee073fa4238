"""``python -m omniport.corpus``: see :mod:`omniport.corpus.run`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from omniport import progress
from omniport.corpus.ending import conclude, options_of_a_run
from omniport.corpus.results import FEATURES
from omniport.corpus.run import run_corpus
from omniport.corpus.sharding import sharding_page
from omniport.corpus.table import corpus_table, summary, to_markdown
from omniport.errors import OmniportError


def _arguments() -> argparse.Namespace:
    parser = options_of_a_run("python -m omniport.corpus", __doc__, Path(".corpus/tree"))
    parser.add_argument("--features", action="store_true", help="try every feature of each port, too")
    parser.add_argument(
        "--feature", action="append", default=[], choices=FEATURES, help="this feature only; repeatable"
    )
    parser.add_argument("--tensor", type=Path, help="write the page on tensor parallelism (features tp2 and tp4)")
    return parser.parse_args()


def _features(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in FEATURES if options.features or name in options.feature)


def main() -> int:
    """Run the corpus; 0 if every class passes every stage and every golden holds, 1 if not, 2 if it cannot be run."""
    options = _arguments()
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
    if options.tensor:
        options.tensor.write_text("\n".join(sharding_page(report)) + "\n", "utf-8")
    return conclude(options, report, produced.values(), table=corpus_table, summary=summary, markdown=to_markdown)


if __name__ == "__main__":
    sys.exit(main())
