"""Layout and lint of generated files by ruff, under the tree's own settings where it has some."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Mapping
from pathlib import Path

from omniport.errors import OmniportError
from omniport.records import dataclass

_SETTINGS = """\
line-length = 120
target-version = "py310"
[lint]
select = ["E", "F", "I", "UP"]
ignore = ["E501", "E731", "E741"]
"""
_SECONDS = 60
#: comments that switch the layout off and on again; rewriting may keep the first of a pair and drop the second
_SWITCH = re.compile(r"^[ \t]*# fmt: (?:off|on)[ \t]*\n", re.M)
_REPORT = ["--exit-zero", "--output-format", "json"]
_LONG = "  # noqa: E501"


@dataclass(frozen=True)
class LintFinding:
    """What ruff still says about a generated file; 1-based line of the formatted text."""

    path: str
    line: int
    code: str
    message: str


def ruff_settings(root: Path | None) -> Path | None:
    """The file that holds the ruff settings of a tree, None if it has none."""
    for name in (".ruff.toml", "ruff.toml", "pyproject.toml") if root else ():
        path = Path(root or "") / name
        if path.is_file() and (name != "pyproject.toml" or "[tool.ruff" in path.read_text("utf-8", errors="replace")):
            return path
    return None


def format_files(
    files: Mapping[str, str], settings: Path | None, root: Path | None = None
) -> tuple[dict[str, str], tuple[LintFinding, ...]]:
    """Fix and format Python files (path relative to the root -> text); returns them and what cannot be fixed.

    ``settings`` is a ruff configuration file; without one, 120 columns and the default rules hold.  Modules below
    ``root`` are the tree's own, which imports are sorted by.

    Raises:
        OmniportError: ruff is missing, or refuses the settings or a file.
    """
    with tempfile.TemporaryDirectory(prefix="omniport-") as folder:
        base = Path(folder)
        for name, text in files.items():
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_SWITCH.sub("", text).encode("utf-8"))
        for parent in {p for name in files for p in (base / name).parents if p != base and p.is_relative_to(base)}:
            (parent / "__init__.py").touch()  # so that ruff tells the package's own imports from others
        ours = settings is None
        if settings is None:
            settings = base / "ruff.toml"
            settings.write_text(_SETTINGS, encoding="utf-8")
        names = sorted(files)
        found = _ruff(base, settings, root, ["check", "--fix", *_REPORT], names)
        _ruff(base, settings, root, ["format", "--quiet"], names)
        if not ours or json.loads(found):  # our rules are about nothing that the layout could bring in
            found = _ruff(base, settings, root, ["check", "--no-fix", *_REPORT], names)
        if long := [(f["filename"], f["location"]["row"]) for f in json.loads(found) if f["code"] == "E501"]:
            for name in {name for name, _ in long}:
                _excuse(Path(name), [row for file, row in long if file == name])
            found = _ruff(base, settings, root, ["check", "--no-fix", *_REPORT], names)
        findings = tuple(
            LintFinding(
                Path(f["filename"]).resolve().relative_to(base.resolve()).as_posix(),
                f["location"]["row"],
                f["code"] or "syntax",
                f["message"],
            )
            for f in json.loads(found)
        )
        return {name: (base / name).read_bytes().decode("utf-8") for name in files}, findings


def _excuse(path: Path, rows: list[int]) -> None:
    """Mark lines that are too long and cannot be broken, such as one long string, where ruff looks for such marks.

    That is the end of the line, or of the string of several lines that the line is part of.
    """
    text = path.read_bytes().decode("utf-8")
    lines = text.splitlines(keepends=True)
    ends = {
        row: token.end[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.STRING and token.end[0] > token.start[0]
        for row in range(token.start[0], token.end[0] + 1)
    }
    for row in {ends.get(row, row) for row in rows}:
        line = lines[row - 1].rstrip("\r\n")
        lines[row - 1] = f"{line}{_LONG}{lines[row - 1][len(line) :]}"
    path.write_bytes("".join(lines).encode("utf-8"))


def _ruff(base: Path, settings: Path, root: Path | None, command: list[str], names: list[str]) -> str:
    own = json.dumps([str(path.resolve()) for path in (base, root) if path is not None])
    where = ["--config", str(settings.absolute()), "--config", f"src = {own}"]
    arguments = [_binary(), command[0], "--no-cache", *where, *command[1:], "--", *names]
    try:
        done = subprocess.run(arguments, cwd=base, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OmniportError(f"ruff cannot be run: {error}") from None
    if done.returncode:
        detail = done.stderr.replace(f"{base}/", "").strip() or done.stdout.strip()
        raise OmniportError(f"ruff cannot format the port (settings: {settings.name}): {detail}")
    return done.stdout


def _binary() -> str:
    if (installed := Path(sys.executable).with_name("ruff")).is_file():
        return str(installed)  # where ruff's own search ends, too, once it has read how Python was built
    try:
        from ruff import find_ruff_bin

        return str(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("ruff"):
            return found
        raise OmniportError("ruff is not installed; install omniport again") from None
