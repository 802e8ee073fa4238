"""Measure every command on this machine's CPU, and write the figures into a page.

    python -m benchmarks.run                        # prints the section
    python -m benchmarks.run --into docs/performance.md

CPU time of a command is what its target holds for: other load on the machine moves it less than wall time.  The target
of a scaffold holds for wall time, since two processes share its work where there are two cores; its CPU time stands
beside.  Each figure is the median of several runs in processes of their own.  Run it on a quiet machine, in the verify
environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.evidence import import_times, profile
from benchmarks.measure import ROOT, Sample, median, omniport, repeated, run

BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks.run` -->", "<!-- benchmarks: end -->"
HELP, SCAFFOLD, CHECK, FEATURE = 0.1, 1.5, 0.25, 2.0  # seconds: targets
NAMES = """\
from omniport.corpus.pipelines import corpus_pipelines
from omniport.source.tree import SourceTree
print(*sorted(corpus_pipelines(SourceTree.locate(None))))
"""
PARTS = ("start-up", "scaffold", "verify", "evidence")


def main() -> int:
    """Print the section or write it into a page; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of each light command")
    parser.add_argument("--only", action="append", default=[], metavar="PIPELINE", help="scaffold these classes only")
    parser.add_argument("--part", action="append", choices=PARTS, help="this part only; may be repeated")
    parser.add_argument("--into", type=Path, help="page to write the section into, between its marks")
    options = parser.parse_args()
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMNIPORT_CACHE"] = str(Path(folder) / "cache")
        text = "\n".join(section(options, Path(folder), missed)) + "\n"
    if options.into:
        page = options.into.read_text("utf-8")
        marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.S)
        new = f"{BEGIN}\n{text}{END}"
        page = marked.sub(lambda _: new, page) if marked.search(page) else f"{page}\n{new}\n"
        options.into.write_text(page, "utf-8")
    else:
        print(text)
    print("\n".join(f"missed: {what}" for what in missed), file=sys.stderr)
    return int(bool(missed))


def section(options: argparse.Namespace, folder: Path, missed: list[str]) -> Iterator[str]:
    """The lines of the section."""
    date = datetime.now(timezone.utc).isoformat(timespec="minutes")
    yield "## On the CPU"
    yield ""
    yield (
        f"Run on {date}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, Python "
        f"{platform.python_version()}. Medians; *CPU*: seconds of all processes; *of target*: CPU over the target; "
        "*wall of target*: wall time over it; *MiB*: memory of the largest process."
    )
    yield ""
    parts = options.part or PARTS
    if "start-up" in parts:
        yield from start_up(options.runs, folder, missed)
    if "scaffold" in parts:
        yield from scaffolds(options.only, folder, missed)
    if "verify" in parts:
        yield from features(folder, missed)
    if "evidence" in parts:
        yield from evidence(folder)


def start_up(runs: int, folder: Path, missed: list[str]) -> Iterator[str]:
    """The light commands beside a bare interpreter, and check."""
    spec = find_spec("vllm_omni")
    assert spec is not None and spec.submodule_search_locations, "the tree that check reads: install vllm-omni"
    tree = Path(spec.submodule_search_locations[0])
    flux = str(tree / "diffusion" / "models" / "flux")
    bare = repeated([sys.executable, "-c", "pass"], folder, runs)
    yield from head("command", "wall", "CPU", "of target", "x bare Python", "MiB")
    yield row("`python -c pass`", bare, None, bare, missed)
    for title, arguments, target in (
        ("`--version`", ["--version"], HELP),
        ("`--help`", ["--help"], HELP),
        ("`explain OP401`", ["explain", "OP401"], None),
        ("`doctor`", ["doctor"], None),
        ("`check` of a port, nothing kept", ["check", flux, "--no-cache"], None),
        ("`check` of a port", ["check", flux], CHECK),
        ("`check` of the tree, nothing kept", ["check", str(tree), "--no-cache"], None),
        ("`check` of the tree", ["check", str(tree)], None),
    ):
        yield row(title, repeated(omniport(*arguments), folder, runs), target, bare, missed)
    yield ""


def scaffolds(only: list[str], folder: Path, missed: list[str]) -> Iterator[str]:
    """Every pipeline of the corpus written once as a plugin; those near the target three times."""
    found: dict[str, Sample] = {}
    refused = 0
    run(omniport("scaffold", "diffusers:FluxPipeline", "--plugin", "warm"), folder)  # fills the file cache
    # The names are read elsewhere: a child inherits the peak memory of the process that starts it.
    for name in run([sys.executable, "-c", NAMES], folder).output.split():
        if only and name not in only:
            continue
        samples = [scaffolded(name, folder)]
        if samples[0].code:
            refused += 1
            continue
        if samples[0].wall > 0.75 * SCAFFOLD:
            samples += [scaffolded(name, folder) for _ in range(2)]
        found[name] = median(samples)
    ordered = sorted(found.items(), key=lambda item: item[1].wall)
    slow = [name for name, sample in ordered if sample.wall > SCAFFOLD]
    missed += [f"scaffold of {name}: {found[name].wall:.2f} s" for name in slow]
    within = sum(sample.cpu <= SCAFFOLD for sample in found.values())
    yield (
        f"`scaffold diffusers:CLASS --plugin DIR`, offline, in two processes where there are two cores: {len(found)} "
        f"pipelines ({refused} refused), {len(found) - len(slow)} within {SCAFFOLD} s of wall time, {within} within as "
        "much CPU time."
    )
    yield ""
    yield from head("pipeline", "wall", "CPU", "wall of target", "x the fastest", "MiB")
    chosen = dict(ordered[:1] + ordered[len(ordered) // 2 :][:1] + ordered[-8:])
    chosen |= {name: found[name] for name in ("FluxPipeline", "StableDiffusion3Pipeline") if name in found}
    for name, sample in sorted(chosen.items(), key=lambda item: item[1].wall):
        yield row(name, sample, SCAFFOLD, ordered[0][1], [], by="wall")
    yield ""


def scaffolded(name: str, folder: Path) -> Sample:
    """One pipeline written into an empty folder."""
    shutil.rmtree(folder / "port", ignore_errors=True)
    return run(omniport("scaffold", f"diffusers:{name}", "--plugin", "port"), folder)


def features(folder: Path, missed: list[str]) -> Iterator[str]:
    """All of verify on FLUX: seconds of each feature once vLLM-Omni is imported."""
    scaffolded("FluxPipeline", folder)
    sample = run([*omniport("verify", "port", "--json", "--quiet")], folder)
    data = json.loads(sample.output[sample.output.index("{") :])
    imported = next((note for note in data["notes"] if "imported" in note), "")
    yield f"`verify` of FLUX: {sample.wall:.0f} s, {sample.cpu:.0f} s of CPU, {sample.memory:.0f} MiB; {imported}."
    yield ""
    yield "| feature | state | wall | of target |"
    yield "|---|---|---|---|"
    for result in data["features"]:
        seconds = result["seconds"]
        if seconds > FEATURE:
            missed.append(f"verify {result['feature']}: {seconds:.1f} s")
        yield f"| {result['feature']} | {result['state']} | {seconds:.1f} s | {seconds / FEATURE:.2f} |"
    yield ""


def evidence(folder: Path) -> Iterator[str]:
    """What the time is spent on: imports of --help, functions of a scaffold, and the corpus run."""
    times, loaded = import_times(folder)
    yield "`python -X importtime` of `--help`, milliseconds in each package: " + ", ".join(
        f"{name} {milliseconds:.0f}" for name, milliseconds in times[:6]
    )
    yield f"Of torch, diffusers, transformers, vllm, libcst and rich it imports {', '.join(loaded) or 'none'}."
    yield ""
    yield "A scaffold of FLUX under cProfile, the functions with the most time of their own:"
    yield ""
    yield "| function | calls | own s | share |"
    yield "|---|---|---|---|"
    yield from profile(folder)
    yield ""
    corpus = re.search(r"Run on (\S+) in (\d+) s", (ROOT / "docs" / "coverage.md").read_text("utf-8"))
    if corpus:
        yield f"The corpus with every feature (`make corpus OPTIONS=--features`): {corpus[2]} s on {corpus[1]}."


def head(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"


def row(
    title: str,
    sample: Sample,
    target: float | None,
    base: Sample,
    missed: list[str],
    by: Literal["cpu", "wall"] = "cpu",
) -> str:
    """A row of a table; a target that is missed is noted.  ``by`` is what the target and the ratio are about."""
    value: float = getattr(sample, by)
    share = "" if target is None else f"{value / target:.2f}"
    if target is not None and value > target:
        missed.append(f"{title}: {value:.2f} s")
    ratio = f"{value / getattr(base, by):.1f}"
    return f"| {title} | {sample.wall:.2f} s | {sample.cpu:.2f} s | {share} | {ratio} | {sample.memory:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
