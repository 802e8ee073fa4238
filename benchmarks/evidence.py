"""Where the time of a command goes: imports by package, and functions."""

from __future__ import annotations

import io
import pstats
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import MAIN, run

HEAVY = ("torch", "diffusers", "transformers", "vllm", "libcst", "rich")
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
SHOWN, RUNS = 8, 5


def import_times(folder: Path) -> tuple[list[tuple[str, float]], list[str]]:
    """Milliseconds of ``--help`` in each top package, the most first; and which heavy packages were loaded.

    The least of several runs: what a package needs, not what the machine did beside.
    """
    runs: list[Counter[str]] = []
    for _ in range(RUNS):
        done = run([sys.executable, "-X", "importtime", "-c", MAIN, "--help"], folder)
        found: Counter[str] = Counter()
        for microseconds, module in _LINE.findall(done.output):
            found[module.split(".")[0]] += int(microseconds)
        runs.append(found)
    least = Counter({name: min(found[name] for found in runs) for name in runs[0]})
    return [(name, total / 1000) for name, total in least.most_common()], [n for n in HEAVY if n in least]


def profile(folder: Path, *model: str) -> Iterator[str]:
    """Rows of the functions in which a scaffold spends the most time of its own, all of it in one process.

    ``model`` is what the command is given, FLUX if nothing.
    """
    stats = folder / "scaffold.prof"
    # The command ends its process at once, before a profile is written: here it ends by an exception.
    code = (
        "import os, sys, cProfile; sys.argv[0] = 'omniport'; os._exit = sys.exit; "
        f"cProfile.run({MAIN!r}, {str(stats)!r})"
    )
    arguments = ["scaffold", *(model or ("diffusers:FluxPipeline",)), "--plugin", "profiled"]
    done = run([sys.executable, "-c", code, *arguments], folder, {"OMNIPORT_ONE_PROCESS": "1"})
    if not stats.exists() or not (folder / "profiled").is_dir():
        raise RuntimeError(f"no profile of a scaffold: {done.output}")
    found = pstats.Stats(str(stats), stream=io.StringIO())
    total = found.total_tt  # type: ignore[attr-defined]
    rows = sorted(found.stats.items(), key=lambda item: -item[1][2])  # type: ignore[attr-defined]
    for (file, _, name), (_, calls, own, _, _) in rows[:SHOWN]:
        where = "/".join(Path(file).parts[-2:]) if file != "~" else ""
        shown = f"{where}:{name}" if where else name
        yield f"| `{shown.replace('|', '')}` | {calls} | {own:.2f} | {own / total:.0%} |"
