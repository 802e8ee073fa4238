"""Third-party repositories of Path B, fetched from the package index at the time of the run: roles, port, names.

    python -m omniport.corpus.custom --tree .corpus/custom --markdown docs/custom-repositories.md

Scaffolding reads the packages as text.  The last stage alone runs them, in processes of their own: it builds the
original class and the port's at toy width and compares the names and shapes of their tensors, and their outputs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from omniport.corpus import custom_media
from omniport.corpus.custom_samples import SAMPLES, Sample
from omniport.errors import OmniportError

TOLERANCE = 1e-5  # relative


@dataclass
class Row:
    """What the run found for one sample; an empty reason is a pass."""

    name: str
    roles: str = ""
    scaffold: str = ""
    native: bool = False
    todos: int = 0
    names: str = ""
    tensors: int = 0
    attentions: int = 0
    error: float | None = None
    numbers: str = ""  # why the outputs were not compared


def fetch(sample: Sample, folder: Path) -> Path:
    """The unpacked sources; from the package index, without building or installing anything.

    Raises:
        OmniportError: the index does not have it.
    """
    root = folder / sample.root
    if root.is_dir():
        return root
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(archives)]
    name = sample.requirement.split("==")[0].replace("-", "_").lower()
    found = [p for p in archives.iterdir() if p.name.lower().startswith(name)]
    if not found:
        for extra in (["--only-binary=:all:"], ["--no-binary=:all:", "--no-build-isolation"]):
            if subprocess.run([*pip, *extra, sample.requirement], capture_output=True, check=False).returncode == 0:
                break
        found = [p for p in archives.iterdir() if p.name.lower().startswith(name)]
    if not found:
        raise OmniportError(f"{sample.requirement}: the package index does not have it")
    if found[0].suffix == ".whl":
        with zipfile.ZipFile(found[0]) as wheel:
            wheel.extractall(root)
    else:
        with tarfile.open(found[0]) as archive:
            archive.extractall(folder, filter="data")
    return root


def run(sample: Sample, sources: Path, tree: Path) -> Row:
    """Roles, port and names of one sample."""
    from omniport.custom import read_repository
    from omniport.custom.into import scaffold_custom

    row = Row(sample.requirement)
    try:
        root = fetch(sample, sources)
    except OmniportError as error:
        row.roles = str(error)
        return row
    asked = read_repository(root)
    plan = read_repository(root, sample.backbone)
    wrong = []
    for role, expected in sample.expected.items():
        best = next((c for c in plan.candidates if c.role == role), None)
        name = plan.backbone.name if role == "backbone" and plan.backbone else best.name if best else "nothing"
        if name not in expected.split("|"):
            wrong.append(f"{role}: {name}, not {expected}")
    if sample.asks and asked.backbone is not None:
        wrong.append("the reader did not ask which denoiser is meant")
    row.roles = "; ".join(wrong + custom_media.wrong(sample.requirement, plan))
    name = f"custom_{sample.requirement.split('==')[0].replace('-', '_').lower()}"
    try:
        result = scaffold_custom("org/" + name, root, into=tree, name=name, backbone=sample.backbone)
    except OmniportError as error:
        row.scaffold = str(error)
        return row
    row.native = not any(t.subject == "NATIVE" for t in result.plan.todos)
    row.todos = len(result.plan.todos)
    transformer = result.plan.transformer
    row.attentions = len(transformer.attentions) if transformer is not None else 0
    if not sample.arguments:
        row.names = sample.why_not_built
        return row
    compared = compare(sample, root, sources, tree, name)
    row.names, row.tensors, row.error = compared.difference, compared.tensors, compared.error
    if row.error is not None and row.error > TOLERANCE:
        said = [f"relative error {row.error:.1e}"]
    elif row.error is None:
        said = [compared.failed or (sample.why_not_run if not row.names else "the tensors differ")]
    else:
        said = []
    row.numbers = "; ".join([*filter(None, said), *_stand_ins(sample)])
    return row


def _stand_ins(sample: Sample) -> list[str]:
    """What is not the original's own in a comparison."""
    said = [f"plain attention stands in for the original's {name}" for name, _ in sample.kernels]
    published = [name for name, _ in sample.published]
    packages = list(dict.fromkeys(name.split(".")[0] for name, _ in sample.shims))
    for name in published:
        what = "fixed tokens in place of the published" if "Tokenizer" in name else "toy sizes of the published"
        said.append(f"{what} {name} on both sides")
    said += [f"modules of our own for {' and '.join(packages)} on both sides"] if packages else []
    if sample.pinned:
        said.append(f"the original runs with {', '.join(sample.pinned)}, the port with what is installed")
    return [*said, *([sample.note] if sample.note else [])]


@dataclass(frozen=True)
class Comparison:
    """Original beside port at toy width.

    Attributes:
        difference: which tensors differ; empty where none does.
        tensors: how many the original has.
        error: the largest relative error of an output, in fp32 with all parameters redrawn; None where not run.
        failed: what ended in an error, and in which.
    """

    difference: str
    tensors: int
    error: float | None
    failed: str


def compare(sample: Sample, root: Path, sources: Path, tree: Path, name: str) -> Comparison:
    """Build both sides, and call them where the sample has inputs."""
    from omniport.custom import read_repository

    backbone = read_repository(root, sample.backbone).backbone
    assert backbone is not None
    extras, pinned = (sources / f"{kind}-{sample.root}" for kind in ("extras", "pinned"))
    try:
        _install(sample.extras, extras)
        _install(sample.pinned, pinned)
    except OmniportError as error:
        return Comparison(str(error), 0, None, "")
    given = {
        "root": str(root),
        "file": backbone.file,
        "class": backbone.name,
        "arguments": sample.arguments,
        "extras": str(extras),
        "pinned": str(pinned),
        "stubs": list(sample.stubs),
        "shims": dict(sample.shims),
        "inputs": sample.inputs,
        "watched": list(sample.watched),
        "kernels": dict(sample.kernels),
        "published": dict(sample.published),
        "tree": str(tree),
        "name": name,
    }
    with tempfile.TemporaryDirectory() as scratch:
        try:
            theirs = _side("original", given, Path(scratch))
            ours = _side("port", {**given, "tensors": theirs["tensors"]}, Path(scratch))
        except OmniportError as error:
            return Comparison(str(error), 0, None, "")
    failed = theirs["failed"] or ours["failed"]
    return Comparison(difference(theirs["tensors"], ours["tensors"]), len(theirs["tensors"]), ours["error"], failed)


def _install(distributions: tuple[str, ...], folder: Path) -> None:
    """Put distributions, without what they require, in a folder that one process has on its path.

    Raises:
        OmniportError: the package index does not have one of them.
    """
    if not distributions or folder.is_dir():
        return
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *distributions]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise OmniportError(f"the package index does not have all of {', '.join(distributions)}")


def _side(side: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the process of one side found.

    Raises:
        OmniportError: it ended in an error; the last line of it.
    """
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "omniport.corpus.custom_meta",
        side,
        json.dumps(given),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    answer = folder / f"{side}.json"  # vLLM writes to the standard output as well
    if done.returncode or not answer.is_file():
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise OmniportError(f"the {side} cannot be built here: {said}")
    found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return found


def difference(theirs: dict[str, list[int]], ours: dict[str, list[int]]) -> str:
    """Which tensors differ, and how; empty where none does."""
    lines = [f"missing {k}" for k in sorted(theirs.keys() - ours.keys())]
    lines += [f"surplus {k}" for k in sorted(ours.keys() - theirs.keys())]
    lines += [
        f"shape of {k}: {ours[k]}, not {theirs[k]}" for k in sorted(theirs.keys() & ours.keys()) if theirs[k] != ours[k]
    ]
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more


def markdown(rows: list[Row]) -> str:
    """The table of docs/custom-repositories.md."""
    lines = [
        "<!-- Generated by `python -m omniport.corpus.custom`; do not edit by hand. -->",
        "# Custom repositories (Path B)",
        "",
        f"Run on {datetime.now(timezone.utc):%Y-%m-%d}. Third-party packages, fetched from the package index at the",
        "time of the run and read as text. *roles*: each role's best candidate is what a reader named, and so are the",
        "media that go in and come out, or the question about them. *port*:",
        "written, every import found; native where the passes of Path A rewrote it, else its classes word for word.",
        "*tensors*: names and shapes of the port's state dict beside the original's, both at toy width.",
        "*output*: relative error of the whole denoiser in fp32 on the CPU, all parameters redrawn at random, loaded",
        f"through the port's `load_weights`; at most {TOLERANCE:.0e} passes.  *attentions*: classes whose call is",
        "vLLM-Omni's attention layer in the port; 0 where the original's own call was kept (a TODO).",
        "",
        "| package | roles | port | TODOs | tensors | attentions | output |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        port = row.scaffold and "refused" or ("native" if row.native else "word for word")
        tensors = f"{row.tensors} equal" if row.tensors and not row.names else ("-" if not row.names else "see below")
        output = "-" if row.error is None else f"{row.error:.1e}"
        roles = "right" if not row.roles else "see below"
        lines.append(f"| {row.name} | {roles} | {port} | {row.todos} | {tensors} | {row.attentions} | {output} |")
    reasons = [
        f"- **{row.name}**, {stage}: {reason}"
        for row in rows
        for stage, reason in (
            ("roles", row.roles),
            ("port", row.scaffold),
            ("tensors", row.names),
            ("output", row.numbers),
        )
        if reason
    ]
    return "\n".join([*lines, *(["", "## Reasons", "", *reasons] if reasons else [])]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tree", type=Path, required=True, help="folder of the run: sources, and a copy of vLLM-Omni")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", help="the one whose requirement begins so")
    options = parser.parse_args()
    import importlib.util

    spec = importlib.util.find_spec("vllm_omni")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("vllm_omni is not installed")
    tree = options.tree / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(
        spec.submodule_search_locations[0], tree / "vllm_omni", ignore=shutil.ignore_patterns("__pycache__")
    )
    chosen = [s for s in SAMPLES if s.requirement.lower().startswith((options.only or "").lower())]
    rows = [run(sample, options.tree / "sources", tree) for sample in chosen]
    text = markdown(rows)
    print(text)
    if options.markdown and not options.only:
        options.markdown.write_text(text, "utf-8")
    return int(sum(not row.roles for row in rows) < len(rows) - 1)


if __name__ == "__main__":
    raise SystemExit(main())
