"""Measure what a scaffold costs, stage by stage: ``python benchmarks/scaffold.py [MODEL] [RUNS]``.

Every run is a fresh process that makes a plugin of MODEL (default: diffusers:FluxPipeline) in an empty folder.  Prints
the median and the extremes of CPU time (of the process and of the ruff it starts), of wall time and of peak memory, and
the median CPU time of each stage; ``rest`` is what no stage counts, the start of the interpreter included.
"""

from __future__ import annotations

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

#: stage -> function that it consists of, as ``module:name``; a stage inside another one counts for itself alone
STAGES = {
    "target": "omniport.target.tree:installed_target",
    "model": "omniport.hub:open_model",
    "classify": "omniport.classify:classify",
    "analyse pipeline": "omniport.analyse.pipeline:analyse_pipeline",
    "normalise transformer": "omniport.analyse.normalise:normalise",
    "infer sharding": "omniport.analyse.parallel:plan_parallel",
    "render transformer": "omniport.rewrite.transformer:render_transformer",
    "render pipeline": "omniport.rewrite.pipeline.module:render_pipeline",
    "files and format": "omniport.emit:port_files",
    "manifest": "omniport.emit:record_files",
    "resolve and compare": "omniport.target.write:prepare",
    "write": "omniport.target.write:apply",
}


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def child(model: str, folder: str) -> None:
    """One scaffold in this process; prints the CPU milliseconds of its stages as JSON."""
    used = dict.fromkeys(("imports", *STAGES), 0.0)
    open_stages: list[str] = []
    last = cpu()

    def count() -> None:
        nonlocal last
        now = cpu()
        if open_stages:
            used[open_stages[-1]] += now - last
        last = now

    def staged(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            count()
            open_stages.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                count()
                open_stages.pop()

        return run

    def load() -> Any:
        for stage, place in STAGES.items():
            module, name = place.split(":")
            setattr(import_module(module), name, staged(stage, getattr(import_module(module), name)))
        return import_module("omniport.cli")

    cli = staged("imports", load)()
    sys.argv = ["omniport", "scaffold", model, "--plugin", folder, "--json"]
    try:
        with redirect_stdout(io.StringIO()):
            cli.main()
    except SystemExit as end:
        if end.code:
            raise
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"stages": {k: v * 1000 for k, v in used.items()}, "cpu": cpu() * 1000, "memory": memory}))


def measure(model: str) -> dict[str, Any]:
    """One run in a process of its own; ``wall`` is in milliseconds too, ``memory`` in MiB."""
    with tempfile.TemporaryDirectory() as home:
        start = time.perf_counter()
        command = [sys.executable, __file__, "--child", model, str(Path(home) / "port")]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
        wall = (time.perf_counter() - start) * 1000
    return {**json.loads(done.stdout), "wall": wall}


def main() -> None:
    model = next((a for a in sys.argv[1:] if not a.isdigit()), "diffusers:FluxPipeline")
    runs = next((int(a) for a in sys.argv[1:] if a.isdigit()), 5)
    measure(model)  # fills the file cache
    found = [measure(model) for _ in range(runs)]
    print(f"{model}, {runs} runs, {os.cpu_count()} cores")
    for name, unit in (("cpu", "ms"), ("wall", "ms"), ("memory", "MiB")):
        values = [run[name] for run in found]
        print(f"{name:24}{statistics.median(values):8.0f} {unit}  ({min(values):.0f} to {max(values):.0f})")
    medians = {stage: statistics.median(run["stages"][stage] for run in found) for stage in found[0]["stages"]}
    rest = statistics.median(run["cpu"] for run in found) - sum(medians.values())
    for stage, value in {**medians, "rest": rest}.items():
        print(f"  {stage:22}{value:8.0f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
