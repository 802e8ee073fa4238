"""Measure how long the light commands take, process start included: ``python benchmarks/startup.py [RUNS]``.

Prints median and extremes of wall time, and the median of CPU time, which other load on the machine moves less.  The
bare interpreter and ``import typer`` stand beside them.  ``check`` runs on the FLUX port and on the whole tree of the
installed vllm-omni, where there is one.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAIN = "from omniport.__main__ import main; main()"


def measure(arguments: list[str], runs: int) -> tuple[list[float], list[float]]:
    """Wall and CPU times in milliseconds of ``runs`` runs, after one that warms the file cache."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    wall, cpu = [], []
    for _ in range(runs + 1):
        start, used = time.perf_counter(), _children()
        subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=False)
        wall.append((time.perf_counter() - start) * 1000)
        cpu.append((_children() - used) * 1000)
    return wall[1:], cpu[1:]


def _children() -> float:
    """CPU seconds of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    cases = {
        "python -c pass": ["-c", "pass"],
        "import typer": ["-c", "import typer"],
        "omniport --version": ["-c", MAIN, "--version"],
        "omniport --help": ["-c", MAIN, "--help"],
        "omniport check --help": ["-c", MAIN, "check", "--help"],
        "omniport explain OP401": ["-c", MAIN, "explain", "OP401"],
        "omniport doctor": ["-c", MAIN, "doctor"],
    }
    spec = importlib.util.find_spec("vllm_omni")
    if spec is not None and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        cases["omniport check flux"] = ["-c", MAIN, "check", str(package / "diffusion" / "models" / "flux")]
        cases["omniport check <tree>"] = ["-c", MAIN, "check", str(package)]
    print(f"{'ms':24} {'median':>7} {'min':>7} {'max':>7} {'CPU':>7}  ({runs} runs, {os.cpu_count()} cores)")
    for title, arguments in cases.items():
        wall, cpu = measure(arguments, runs if "<tree>" not in title else min(3, runs))
        figures = (statistics.median(wall), min(wall), max(wall), statistics.median(cpu))
        print(f"{title:24} " + " ".join(f"{figure:7.0f}" for figure in figures))


if __name__ == "__main__":
    main()
