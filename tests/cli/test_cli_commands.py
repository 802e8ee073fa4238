"""The command line as a user meets it: output, exit codes, one message on a mistake and never a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omniport import __version__, cli
from omniport.check.engine import check
from omniport.errors import FindingsError, OmniportError, UnsupportedError
from omniport.report.findings import write_text

DEFECT = "import torch\n\n\ndef run(x):\n    return x.to('cuda')\n"
MAIN = "from omniport.__main__ import main; main()"


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own, started as the console script starts it."""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), **environment}
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def port(tmp_path: Path) -> Path:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "pipeline_x.py").write_text(DEFECT)
    return folder


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def test_version_and_help() -> None:
    assert run("--version").stdout == f"omniport {__version__}\n"
    for option in ("--help", "-h"):
        text = run(option).stdout
        for command in ("scaffold", "plan", "check", "verify", "explain", "doctor"):
            assert f"\n  {command} " in text


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "scaffold",
            "--into --plugin --name --revision --source --dry-run --diff --force --offline --json",
        ),
        ("plan", "--into --revision --source --short --offline --json"),
        ("check", "--select --ignore --output-format"),
        ("verify", "--json"),
    ],
)
def test_a_command_has_the_options_of_the_contract(command: str, options: str) -> None:
    text = invoke(command, "--help").stdout
    assert [option for option in options.split() if f" {option}" not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [("chek",), ("check", "--no-such-option"), ("scaffold",), ("check", "--output-format"), ("plan", "a", "b")],
)
def test_wrong_use_exits_with_2_and_one_message(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and "Error: " in done.stderr and "Traceback" not in done.stderr


def test_check_of_a_clean_port_exits_with_0(port: Path) -> None:
    (port / "pipeline_x.py").write_text("x = 1\n")
    done = run("check", port)
    assert (done.returncode, done.stdout, done.stderr) == (0, "No findings in 1 port, 1 file.\n", "")


def test_check_with_findings_exits_with_1_and_shows_place_and_evidence(port: Path) -> None:
    done = run("check", port)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{port / 'pipeline_x.py'}:5:17: OP701 'cuda' names a CUDA device; use the worker's own"
    assert lines[1:3] == ["    return x.to('cuda')", "1 finding in 1 port, 1 file: OP701 1"]
    assert "\x1b" not in done.stdout


def test_check_as_json(port: Path) -> None:
    done = run("check", port, "--output-format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["counts"] == {"OP701": 1}


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--select", "OP4"), 0), (("--ignore", "OP701"), 0), (("--select", "OP4,OP7"), 1), (("--ignore", "OP1"), 1)],
)
def test_check_with_some_rules(port: Path, options: tuple[str, ...], code: int) -> None:
    assert invoke("check", str(port), *options).exit_code == code


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--select", "OP99"), "'OP99' is no rule"), (("--output-format", "xml"), "choose text, json")],
)
def test_check_with_a_wrong_option_value_is_one_message(port: Path, options: tuple[str, ...], message: str) -> None:
    done = run("check", port, *options)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_check_of_a_missing_path_is_one_message(tmp_path: Path) -> None:
    done = run("check", tmp_path / "missing")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'missing'}: no such file or folder\n"


def test_check_without_a_path_checks_here(port: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(port)
    result = invoke("check")
    assert result.exit_code == 1 and result.stdout.startswith("pipeline_x.py:5:17: OP701 ")


def test_explain() -> None:
    assert invoke("explain", "op401").stdout.startswith("OP401 cfg-normalize-by-default\n")
    assert "  OP701  cuda-only\n" in invoke("explain").stdout
    done = run("explain", "OP999")
    assert done.returncode == 2 and done.stderr.startswith("error: 'OP999' is no rule")
    assert "`omniport explain` lists them" in done.stderr
    near = run("explain", "OP2O1").stderr
    assert "did you mean " in near and "OP201" in near and "OP401" not in near


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OmniportError("bad [value]"), 2),
        (FindingsError("conflict"), 1),
        (UnsupportedError("a [construct]", "models/x.py", 7), 2),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.parametrize("command", [("scaffold", "m", "--into", "t"), ("plan", "m"), ("verify", "t")])
def test_what_a_room_raises_becomes_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, command: tuple[str, ...]
) -> None:
    def room(*args: object, **kwargs: object) -> None:
        raise error

    from omniport import port as port_room
    from omniport import scaffold as scaffold_room
    from omniport.verify import api

    for owner, name in ((scaffold_room, "scaffold"), (port_room, "plan"), (api, "verify")):
        monkeypatch.setattr(owner, name, room)
    result = invoke(*command)
    assert result.exit_code == code
    assert result.stderr == ("" if code == 130 else f"error: {error}\n")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from omniport import port as port_room

    def room(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(port_room, "plan", room)
    result = invoke("plan", "m")
    assert result.exit_code == 1 and isinstance(result.exception, ZeroDivisionError)


def test_scaffold_hands_over_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    from omniport import scaffold as room_of_files

    seen: dict[str, object] = {}

    class Result:
        def to_data(self) -> dict[str, str]:
            return {"name": "x"}

        def text(self) -> str:
            return "written"

    def room(model: str, **options: object) -> Result:
        seen.update(options, model=model)
        return Result()

    monkeypatch.setattr(room_of_files, "scaffold", room)
    flags = ["--dry-run", "--diff", "--force", "--offline"]
    values = ["--into", "t", "--name", "n", "--revision", "r", "--source", "s"]
    assert invoke("scaffold", "m", *values, *flags).stdout == "written\n"
    assert seen == {
        "model": "m",
        "into": Path("t"),
        "plugin": None,
        "name": "n",
        "revision": "r",
        "source": Path("s"),
        "dry_run": True,
        "diff": True,
        "force": True,
        "offline": True,
    }
    assert json.loads(invoke("scaffold", "m", "--plugin", "d", "--json").stdout) == {"name": "x"}
    assert seen["plugin"] == Path("d") and seen["into"] is None and seen["dry_run"] is False


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1), (False, 2)])
def test_verify_hands_over_its_options_and_exits_by_the_outcome(
    monkeypatch: pytest.MonkeyPatch, ok: bool, code: int
) -> None:
    from omniport.verify import api

    seen: dict[str, object] = {}

    class Report:
        def __init__(self) -> None:
            self.ok, self.exit_code = ok, code

        def to_data(self) -> dict[str, bool]:
            return {"ok": ok}

    def room(port: Path, **options: object) -> Report:
        seen.update(options, port=port)
        return Report()

    monkeypatch.setattr(api, "verify", room)
    result = invoke("verify", "t", "--feature", "load,parity", "--feature", "tp2", "--report", "r.md", "--json")
    assert result.exit_code == code and json.loads(result.stdout) == {"ok": ok}
    assert callable(seen.pop("on_result")) and callable(seen.pop("on_feature"))
    given = {"port": Path("t"), "features": ("load", "parity", "tp2"), "name": None, "reports": (Path("r.md"),)}
    assert seen == given


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_findings_are_coloured_on_a_terminal_only_and_not_with_no_color(
    port: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = check([port])
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal, pipe = Terminal(), io.StringIO()
    write_text(report, terminal)
    write_text(report, pipe)
    assert "\x1b[31mOP701\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    write_text(report, plain)
    assert plain.getvalue() == pipe.getvalue()


def test_plan_shows_every_decision_unless_a_summary_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from omniport import port as port_room
    from tests.report.test_plan_report import PLAN

    monkeypatch.setattr(port_room, "plan", lambda *_, **__: PLAN)
    short, whole, data = (invoke("plan", "m", *options).stdout for options in (("--short",), (), ("--short", "--json")))
    assert "without --short" in short and "rope" not in short
    assert "Other decisions on the transformer (1)" in whole and "without --short" not in whole
    assert json.loads(data) == json.loads(invoke("plan", "m", "--json").stdout)
