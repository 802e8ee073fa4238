"""The hooks of a tree's own pre-commit settings, run on the files of a port.

Hooks are run as pre-commit runs them, from an environment of their own with the revisions that the settings name; what
is no Python package (actionlint, for workflows alone) and what asks about the commit itself is left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omniport.errors import OmniportError

SETTINGS = ".pre-commit-config.yaml"

#: hook -> its command, and what the names of its files end with; run in this order
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "check-yaml": (("check-yaml", "--unsafe"), (".yaml", ".yml")),
    "debug-statements": (("debug-statement-hook",), (".py",)),
    "end-of-file-fixer": (("end-of-file-fixer",), ()),
    "mixed-line-ending": (("mixed-line-ending", "--fix=lf"), ()),
    "trailing-whitespace": (("trailing-whitespace-fixer", "--markdown-linebreak-ext=md"), ()),
    "ruff-check": (("ruff", "check", "--no-cache", "--force-exclude", "--output-format", "concise"), (".py",)),
    "ruff-format": (("ruff", "format", "--no-cache", "--force-exclude", "--check"), (".py",)),
    "typos": (("typos", "--force-exclude"), ()),
    "check-pickle-imports": (("python", "tools/pre_commit/check_pickle_imports.py"), (".py",)),
    "check-forbidden-imports": (("python", "tools/pre_commit/check_forbidden_imports.py"), (".py",)),
}


def environment(tree: Path, folder: Path) -> Path | None:
    """The programs of the hooks that ``tree`` asks for, installed below ``folder``; None if it has no settings.

    Raises:
        OmniportError: they cannot be installed.
    """
    settings = tree / SETTINGS
    if not settings.is_file():
        return None
    text = settings.read_text("utf-8")
    packages = ["typos", "regex"]
    for package, repository in (("pre-commit-hooks", "pre-commit-hooks"), ("ruff", "ruff-pre-commit")):
        found = re.search(rf"repo: \S*/{repository}\s+rev: v([\d.]+)", text)
        packages.append(f"{package}=={found[1]}" if found else package)
    venv = folder / "-".join(["hooks", *sorted(packages)]).replace("==", "-")
    if not (venv / "done").is_file():
        for command in (
            [sys.executable, "-m", "venv", str(venv)],
            [str(venv / "bin/python"), "-m", "pip", "install", "-q", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise OmniportError(f"the hooks of {settings} cannot be installed: {done.stderr.strip()[-400:]}")
        (venv / "done").touch()
    return venv / "bin"


def run(tree: Path, programs: Path, paths: Sequence[str]) -> str:
    """What the hooks say of files of ``tree``; empty if all pass."""
    settings = (tree / SETTINGS).read_text("utf-8")
    wanted = re.findall(r"- id: ([\w-]+)", settings)
    said = []
    for name, ((program, *options), endings) in COMMANDS.items():
        files = [path for path in paths if not endings or path.endswith(endings)]
        if name not in wanted or not files:
            continue
        command = [str(programs / program), *options, *files]
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode:
            said.append(f"{name}: {' '.join((done.stdout + done.stderr).split())[:300]}")
    return "; ".join(said)
