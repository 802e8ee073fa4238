"""Generated code has no network, no disk but its folder, bounded memory and time, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.verify import sandbox

ROOT = Path(__file__).parents[2]
PARENT = """
import os, signal, sys
from omniport.verify import sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs behind it without
with sandbox.workspace("test") as work:
    (work / "what").write_text(sys.argv[1])
    print(work, flush=True)
    env = {**os.environ}
    print(sandbox.heavy_process("tests.verify.confined", work, env, lambda line: print(line, flush=True)))
"""


def run(work: Path, what: str, *, silence: float = 60.0, on_line=None, **env: str) -> list[str]:  # type: ignore[no-untyped-def]
    (work / "what").write_text(what)
    lines: list[str] = []
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    sandbox.heavy_process("tests.verify.confined", work, settings, on_line or lines.append, silence=silence)
    return [line.strip() for line in lines] or [sandbox.log_tail(work)]


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    answer = run(tmp_path_factory.mktemp("probe"), "missing")
    if answer != ["[]"]:
        pytest.skip(f"this system gives no namespaces: {answer}")


def sleepers() -> set[int]:
    """Processes of this test session that run the confined module, wherever they belong now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"tests.verify.confined" in path.read_bytes():
                found.add(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = sleepers()
    yield
    end = time.monotonic() + 10
    while (left := sleepers() - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize("place", ["elsewhere", "package"])
def test_only_its_own_folder_can_be_written(tmp_path: Path, place: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    target = tmp_path / "x" if place == "elsewhere" else ROOT / "tests" / "verify" / "written-by-generated-code"
    assert "Read-only file system" in run(work, f"write\n{target}")[0]
    assert not target.exists()
    assert run(work, f"write\n{work / 'x'}") == ["done"]


@pytest.mark.usefixtures("isolated")
def test_shared_memory_goes_with_it(tmp_path: Path) -> None:
    assert run(tmp_path, "write\n/dev/shm/omniport-left") == ["done"]
    assert not Path("/dev/shm/omniport-left").exists()


@pytest.mark.usefixtures("isolated")
def test_it_sees_no_network_and_not_even_the_loopback_of_others(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert "Connection refused" in run(tmp_path, f"connect\n127.0.0.1\n{port}")[0]
    assert "unreachable" in run(tmp_path, "connect\n192.0.2.1\n80")[0]
    assert run(tmp_path, "loopback") == ["done"]


def test_without_namespaces_pythons_sockets_are_kept_to_loopback(tmp_path: Path) -> None:
    off = {"OMNIPORT_VERIFY_NAMESPACES": "0"}
    assert "switched off" in run(tmp_path, "missing", **off)[0]
    assert "without network" in run(tmp_path, "connect\n192.0.2.1\n80", **off)[0]
    assert "without network" in run(tmp_path, "lookup", **off)[0]
    assert run(tmp_path, "loopback", **off) == ["done"]


def test_memory_has_a_limit(tmp_path: Path) -> None:
    assert run(tmp_path, "memory", OMNIPORT_VERIFY_MEMORY_GIB="1")[0].startswith("MemoryError")
    assert run(tmp_path, "memory", OMNIPORT_VERIFY_MEMORY_GIB="8") == ["done"]


def test_a_silent_process_is_ended(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match="gave no answer for 1 s"):
        run(tmp_path, "silence", silence=1.0)


def test_daemons_are_ended_with_it(tmp_path: Path) -> None:
    assert run(tmp_path, "daemon") == ["left"]
    assert not sandbox.descendants() or not sleepers()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OmniportError, SystemExit])
def test_an_interrupt_or_error_of_the_reader_ends_all(tmp_path: Path, error: type[BaseException]) -> None:
    def stop(line: str) -> None:
        raise error("stop")

    with pytest.raises(error):
        run(tmp_path, "daemon and wait", on_line=stop)
    assert not sleepers()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_signal_to_the_command_leaves_neither_process_nor_folder(number: int, code: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, "daemon and wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    work = Path(parent.stdout.readline().strip())
    assert parent.stdout.readline() == "left\n" and work.is_dir() and len(sleepers()) >= 2
    parent.send_signal(number)
    assert parent.wait(20) in (code, -number)
    parent.stdout.close()
    end = time.monotonic() + 10
    while (sleepers() or (work.exists() and any(work.iterdir()))) and time.monotonic() < end:
        time.sleep(0.05)
    assert not sleepers() and not (work.exists() and any(work.iterdir()))
    if number == signal.SIGKILL:  # the empty folder was a mount of the process that cleaned it
        with sandbox.workspace("test"):
            assert not work.exists()
    assert not work.exists()


def test_folders_of_the_living_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = tmp_path / f"omniport-test-{os.getpid()}-x"
    own.mkdir()
    dead = tmp_path / "omniport-test-999999999-x"
    dead.mkdir()
    with sandbox.workspace("test") as work:
        assert work.parent == tmp_path and own.is_dir() and not dead.exists()
    assert own.is_dir() and not work.exists()
