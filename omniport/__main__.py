"""The command ``omniport``, also as ``python -m omniport``: an interrupt ends it quietly, even while it is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; 130 is the exit code after an interrupt, as for every shell command."""
    try:
        from omniport.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
