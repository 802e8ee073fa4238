"""Commands in processes of their own: wall time, CPU time of the process and of what it started, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAIN = "from omniport.cli import main; main()"


@dataclass(frozen=True)
class Sample:
    """One run: seconds, MiB of the largest process, exit code, and what it printed."""

    wall: float
    cpu: float
    memory: float
    code: int
    output: str


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Sample:
    """One run of ``command`` in ``folder``."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, child.returncode, output)


def omniport(*arguments: str) -> list[str]:
    """The command line, started as its console script starts it."""
    return [sys.executable, "-c", MAIN, *arguments]


def median(samples: Sequence[Sample]) -> Sample:
    """The medians of several runs; code and output are those of the last."""
    last = samples[-1]
    wall, cpu, memory = (statistics.median(getattr(s, name) for s in samples) for name in ("wall", "cpu", "memory"))
    return Sample(wall, cpu, memory, last.code, last.output)


def repeated(command: Sequence[str], folder: Path, runs: int) -> Sample:
    """The median of ``runs`` runs, after one that fills the file cache."""
    run(command, folder)
    return median([run(command, folder) for _ in range(runs)])
