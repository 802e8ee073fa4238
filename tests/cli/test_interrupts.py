"""A command that is stopped leaves the tree as it was, and no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "omniport"]
MARK = "OMNIPORT_TEST_RUN"


def start(arguments: list[str], mark: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), MARK: mark}
    return subprocess.Popen(
        [*COMMAND, *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def left(mark: str) -> list[int]:
    """Processes that carry the mark of a run in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """What scaffolding writes, and the seconds that it takes now."""
    root = tmp_path_factory.mktemp("whole") / "port"
    begun = time.monotonic()
    run = start(["scaffold", "diffusers:FluxPipeline", "--plugin", str(root), "--offline"], "whole")
    assert run.wait() == 0
    return content(root), time.monotonic() - begun


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_scaffold_leaves_nothing_or_all(
    tmp_path: Path, whole: tuple[dict[str, bytes], float], number: signal.Signals, part: float
) -> None:
    files, seconds = whole
    root = tmp_path / "port"
    arguments = ["scaffold", "diffusers:FluxPipeline", "--plugin", str(root), "--offline"]
    mark = f"{number}-{part}-{tmp_path.name}"
    run = start(arguments, mark)
    time.sleep(part * seconds)
    run.send_signal(number)
    code = run.wait(60)
    assert run.stderr is not None
    errors = run.stderr.read()
    assert code in (0, 130, 128 + number, -number) and b"Traceback" not in errors, errors
    end = time.monotonic() + 10
    while left(mark) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left(mark)
    there = content(root) if root.exists() else {}
    if number != signal.SIGKILL:
        assert there in ({}, files)
    assert start(arguments, mark).wait(60) == 0  # after a kill the next run puts things right
    assert content(root) == files


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("command", ["plan", "check", "check --fix", "matrix", "update", "remove"])
def test_every_other_command_leaves_the_old_or_the_new(
    tmp_path: Path, whole: tuple[dict[str, bytes], float], number: signal.Signals, command: str
) -> None:
    root = tmp_path / "port"
    for name, data in whole[0].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    name, *options = command.split()
    arguments = [name, "diffusers:FluxPipeline" if name == "plan" else str(root), *options]
    mark = f"{command}-{number}-{tmp_path.name}"
    run = start(arguments, mark)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(whole[1] * (0.5 if name in ("plan", "update") else 0.12))
    run.send_signal(number)
    run.wait(60)
    assert run.stderr is not None
    errors = run.stderr.read()
    assert b"Traceback" not in errors, errors
    end = time.monotonic() + 10
    while left(mark) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left(mark)
    there = content(root) if root.exists() else {}
    if name != "remove":
        assert there == whole[0]
    elif number != signal.SIGKILL:
        assert there in ({}, whole[0])
    else:  # after a kill the next run puts things right
        start(arguments, mark).wait(60)
        assert not root.exists() or content(root) == {}
