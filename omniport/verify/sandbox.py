"""The process that runs generated code, kept in bounds.

Parent's side: :func:`heavy_process` starts it in a session of its own, reads its answers, and ends it and everything
that it left behind when it is done, silent for too long, or the parent is interrupted.  Child's side: :func:`enter`,
called before anything heavy is imported, takes network, foreign shared memory and the rest of the disk away from it and
limits what it may use.  Where the system forbids namespaces, a hook of Python refuses what is not loopback instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from omniport.errors import OmniportError

SILENCE = 900.0  # seconds without an answer after which the process is ended; a feature takes some ten
MEMORY = 16 << 30  # bytes of data that one process may have; OMNIPORT_VERIFY_MEMORY_GIB sets another limit
POLL = 0.1  # seconds between two looks at whether the process still runs
FILE_SIZE = 16 << 30  # bytes of one file
_PARENT = "OMNIPORT_PARENT"
_PREFIX = "omniport-"

# Linux constants that Python has no names for (linux/prctl.h, linux/sched.h, linux/mount.h, linux/if.h)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 1
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


# The parent's side ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workspace(kind: str) -> Iterator[Path]:
    """A folder of this run, removed at the end; those of runs that were killed are removed before."""
    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{_PREFIX}{kind}-*-*"):
        owner = old.name.removeprefix(f"{_PREFIX}{kind}-").partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and old.stat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    with _stopped_by_signals():
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-{os.getpid()}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a request to end (SIGTERM, SIGHUP) leave through every ``finally``, as an interrupt does."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def heavy_process(
    module: str, work: Path, env: Mapping[str, str], on_line: Callable[[str], None], *, silence: float | None = None
) -> int:
    """Run ``python -m module work``, hand over its lines of output, and return its exit status.

    Its errors go to ``work/runner.log``.  Whatever it started is gone when this returns or raises.

    Raises:
        OmniportError: it said nothing for ``silence`` seconds (default: SILENCE).
    """
    limit = SILENCE if silence is None else silence
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what escapes from the process becomes ours, to be ended
    others = frozenset(descendants())
    (work / "tmp").mkdir(exist_ok=True)
    settings = {**env, _PARENT: str(os.getpid()), "TMPDIR": str(work / "tmp")}
    with (work / "runner.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(work)],
            cwd=work,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # an interrupt at the terminal reaches us, and we end it in order
        )
    try:
        for line in _lines(process, limit):
            on_line(line)
    except TimeoutError:
        process.kill()
        tail = log_tail(work)
        raise OmniportError(f"the verify process gave no answer for {limit:.0f} s and was ended:\n{tail}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        end_descendants(others)
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    return process.returncode


def _lines(process: subprocess.Popen[bytes], limit: float) -> Iterator[str]:
    """What a process writes until it ends: the pipe itself may stay open in what it left behind.

    Raises:
        TimeoutError: there was no line for ``limit`` seconds.
    """
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    held = b""
    last = time.monotonic()
    while True:
        ended = process.poll() is not None
        if select.select([pipe], [], [], 0 if ended else POLL)[0]:
            data = os.read(pipe, 1 << 16)
            *whole, held = (held + data).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", errors="replace")
            last = time.monotonic() if whole else last
            ended = ended or not data
            if data:
                continue
        if ended:
            try:
                process.wait(max(0.0, limit - (time.monotonic() - last)))
            except subprocess.TimeoutExpired:
                raise TimeoutError from None
            return
        if time.monotonic() - last > limit:
            raise TimeoutError


LEAKS = ("nanobind: ", " - leaked ", " - ... skipped remainder", "See https://nanobind.")


def log_tail(work: Path, lines: int = 15) -> str:
    """The end of what the process wrote to its log, without what compiled modules say of objects they did not free."""
    log = work / "runner.log"
    written = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join([line for line in written if not line.startswith(LEAKS)][-lines:])


def end_descendants(spared: Collection[int] = (), seconds: float = 5.0) -> None:
    """Kill and reap every process below this one but ``spared``, those that left their session or parent included."""
    end = time.monotonic() + seconds
    while (below := [pid for pid in descendants() if pid not in spared]) and time.monotonic() < end:
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def descendants() -> list[int]:
    """Processes below this one, nearest first."""
    found: list[int] = []
    level = [os.getpid()]
    while level:
        below: list[int] = []
        for pid in level:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    below += map(int, task.read_text().split())
        found += below
        level = below
    return found


# The child's side ----------------------------------------------------------------------------------------------------


def enter(work: Path) -> list[str]:
    """Confine this process and all that it will fork; call it first, with one thread.

    ``work`` stays writable.  Returns what could not be taken away, in words; empty where all of it was.
    """
    _limits()
    if os.environ.get("OMNIPORT_VERIFY_NAMESPACES") == "0":
        missing = ["namespaces are switched off by OMNIPORT_VERIFY_NAMESPACES=0"]
    else:
        missing = _namespaces(work)
    if missing:
        sys.addaudithook(_loopback_only)
    _die_with_parent(work)  # last: a change of namespace makes the kernel forget the signal
    return missing


def _die_with_parent(work: Path) -> None:
    """Where the parent is killed, remove the folder that it cannot remove any more, and go with all children."""

    def gone(number: int, frame: FrameType | None) -> NoReturn:
        end_descendants()
        for path in work.iterdir():  # the folder itself is a mount here; the next run takes it away
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            work.rmdir()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, gone)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if (parent := os.environ.get(_PARENT)) and os.getppid() != int(parent):
        gone(signal.SIGTERM, None)  # it went before we asked to be told


def _limits() -> None:
    given = os.environ.get("OMNIPORT_VERIFY_MEMORY_GIB", "")
    memory = int(float(given) * (1 << 30)) if given.replace(".", "", 1).isdigit() else MEMORY
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _namespaces(work: Path) -> list[str]:
    """Own network, shared memory and mounts; what could not be had, in words."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_NEWUSER | _NEWNET | _NEWIPC | _NEWNS):
        return [f"no namespaces ({os.strerror(ctypes.get_errno())}): only Python's own sockets are kept to loopback"]
    missing = []
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            import fcntl

            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    except OSError as error:
        missing.append(f"no loopback in the namespace: {error.strerror}")
    try:
        _mounts(libc, work)
    except OSError as error:
        missing.append(f"the disk stays writable: {error.strerror}")
    return missing


def _mounts(libc: Any, work: Path) -> None:
    """Everything read-only but ``work`` and a shared memory of our own."""

    def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        text = [None if s is None else s.encode() for s in (source, target, kind)]
        if libc.mount(*text, ctypes.c_ulong(flags), None if data is None else data.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    def read_only(path: str, set_: int, clear: int, flags: int) -> None:
        attributes = struct.pack("QQQQ", set_, clear, 0, 0)
        if libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, attributes, len(attributes)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)

    mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    mount(str(work), str(work), None, _MS_BIND)
    if Path("/dev/shm").is_dir():
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4g,mode=1777")
    read_only("/", _ATTR_RDONLY, 0, _AT_RECURSIVE)
    for path in (str(work), "/dev/shm"):
        if Path(path).is_dir():
            read_only(path, 0, _ATTR_RDONLY, 0)
    os.chdir(work)  # the folder as it was before the mount is the read-only one


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: refuse to send to, or to listen on, anything but loopback and local sockets."""
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and address and not _is_loopback(str(address[0])):
            raise PermissionError(f"verify runs without network: {event} to {address[0]}")
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        host = host.decode() if isinstance(host, bytes) else host
        if host not in (None, "", "localhost", socket.gethostname()) and not _is_loopback(str(host)):
            raise PermissionError(f"verify runs without network: the name {host} is not looked up")


def _is_loopback(host: str) -> bool:
    return host in ("", "localhost", "::1", "::", "0.0.0.0") or host.startswith("127.")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
