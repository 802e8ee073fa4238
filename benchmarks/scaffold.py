"""Measure what a scaffold costs, stage by stage: ``python benchmarks/scaffold.py [MODEL] [RUNS]``.

Every run is a fresh process that makes a plugin of MODEL (default: diffusers:FluxPipeline) in an empty folder.  Prints
the median and the extremes of wall time, of CPU time (of all its processes) and of the memory of the largest of them.
What the second process does beside the first (``omniport/beside.py``) costs CPU time and, on two idle cores, little
wall time; OMNIPORT_ONE_PROCESS=1 in front of the command leaves it out.

Below stands the median CPU time of each stage, of runs of their own in which every stage is counted where it is done;
``rest`` is what no stage counts, the start of the interpreter and the making of the second process included.
"""

from __future__ import annotations

import functools
import gc
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # it is run as a script

from benchmarks.measure import Sample, omniport, run  # noqa: E402

#: stage -> function that it consists of, as ``module:name``; a stage inside another one counts for itself alone
STAGES = {
    "target": "omniport.target.tree:installed_target",
    "model": "omniport.hub:open_model",
    "classify": "omniport.classify:classify",
    "analyse pipeline": "omniport.analyse.pipeline:analyse_pipeline",
    "normalise transformer": "omniport.analyse.normalise:normalise",
    "infer sharding": "omniport.analyse.parallel:plan_parallel",
    "render transformer": "omniport.rewrite.transformer:render_transformer",
    "render pipeline": "omniport.rewrite.pipeline.module:pipeline_text",
    "read templates ahead": "omniport.ahead:_read_templates",
    "read packages ahead": "omniport.ahead:_read_packages",
    "fill templates": "omniport.emit.port:_texts",
    "files and format": "omniport.emit:port_files",
    "manifest": "omniport.emit:record_files",
    "resolve imports": "omniport.target.write:_resolved",
    "compile and compare": "omniport.target.write:prepare",
    "write": "omniport.target.write:apply",
}


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Stages:
    """CPU seconds of each stage in this process; those of a second one are written to ``beside``, a line for each."""

    def __init__(self, beside: Path) -> None:
        self.beside, self.used = beside, dict.fromkeys(("imports", *STAGES), 0.0)
        self._process, self._open, self._last = os.getpid(), [""], cpu()

    def _count(self) -> float:
        """What was used since the last count, which the stage that is open used."""
        now = cpu()
        since, self._last = now - self._last, now
        if self._open[-1]:
            self.used[self._open[-1]] += since
        return since

    def staged(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, counted as ``stage``."""

        @functools.wraps(function)  # a second process is told its name
        def run(*args: Any, **kwargs: Any) -> Any:
            if os.getpid() != self._process:
                return self._elsewhere(stage, function, *args, **kwargs)
            self._count()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._count()
                self._open.pop()

        return run

    def _elsewhere(self, stage: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A stage of a second process, in which no stage is part of another."""
        began = cpu()
        try:
            return function(*args, **kwargs)
        finally:
            with self.beside.open("a", encoding="utf-8") as file:
                file.write(json.dumps([stage, cpu() - began]) + "\n")


def child(model: str, folder: str) -> None:
    """One scaffold in this process; prints the CPU milliseconds of its stages, of both processes, as JSON."""
    stages = Stages(Path(folder).parent / "beside")

    def load() -> Any:
        for stage, place in STAGES.items():
            module, name = place.split(":")
            setattr(import_module(module), name, stages.staged(stage, getattr(import_module(module), name)))
        return import_module("omniport.cli")

    cli = stages.staged("imports", load)()
    sys.argv = ["omniport", "scaffold", model, "--plugin", folder, "--json"]
    gc.set_threshold(1_000_000)  # as the command's entry point, which ends the process
    try:
        with redirect_stdout(io.StringIO()):
            cli.app()
    except SystemExit as end:
        if end.code:
            raise
    lines = stages.beside.read_text("utf-8").splitlines() if stages.beside.exists() else []
    beside = dict(json.loads(line) for line in lines)
    found = {"stages": stages.used, "beside": beside, "cpu": {"": cpu()}}
    print(json.dumps({what: {k: v * 1000 for k, v in values.items()} for what, values in found.items()}))


def measure(model: str) -> Sample:
    """One run as a user starts it."""
    with tempfile.TemporaryDirectory() as home:
        done = run(omniport("scaffold", model, "--plugin", "port"), Path(home))
    if done.code:
        raise SystemExit(done.output)
    return done


def count(model: str) -> dict[str, dict[str, float]]:
    """One run whose stages are counted, in milliseconds: here, in a second process, and of the whole run."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, "--child", model, str(Path(home) / "port")]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def main() -> None:
    model = next((a for a in sys.argv[1:] if not a.isdigit()), "diffusers:FluxPipeline")
    runs = next((int(a) for a in sys.argv[1:] if a.isdigit()), 5)
    measure(model)  # fills the file cache
    found = [measure(model) for _ in range(runs)]
    counted = [count(model) for _ in range(runs)]
    print(f"{model}, {runs} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, unit, factor in (("wall", "ms", 1000), ("cpu", "ms", 1000), ("memory", "MiB", 1)):
        values = [getattr(sample, name) * factor for sample in found]
        print(f"{name:24}{statistics.median(values):8.0f} {unit}  ({min(values):.0f} to {max(values):.0f})")
    print("CPU of each stage")
    rest = statistics.median(sum(one["cpu"].values()) for one in counted)
    for stage in counted[0]["stages"]:
        for place, remark in (("stages", ""), ("beside", "  beside")):
            value = statistics.median(one[place].get(stage, 0.0) for one in counted)
            rest -= value
            if value:
                print(f"  {stage:22}{value:8.0f} ms{remark}")
    print(f"  {'rest':22}{rest:8.0f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
