"""Forking a check: one process per rank from an interpreter that has imported everything once.

Rules that make this reliable: the parent has exactly one thread and has done no torch computation; each child leads its
own process group, dies with the parent, writes to its own log, and has a time limit, after which every rank prints its
stacks before it is killed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import importlib.util
import mmap
import os
import pickle
import random
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
GRACE = 3.0  # seconds that the other ranks get once one has failed: they hang in a collective
PORTS = 10_000  # how many TCP ports ranks may meet at
STACKS = 0.5  # seconds for a hung rank to write its stacks
LOOKS, APART = 6, 0.1  # how often, and how many seconds apart, it is looked whether a rank computes
ATTEMPTS = 2  # how often the ranks may try to find each other
MEETING, MET = 1, 2  # marks of a rank that looks for the others, and of one that has found them


@dataclass(frozen=True)
class Rank:
    """Which process of a check this is; ``port`` is the TCP port on loopback where the ranks meet.

    ``marks`` is shared with the parent: a byte for each rank that says how far it has come.
    """

    rank: int
    world: int
    port: int
    marks: mmap.mmap | None = field(default=None, repr=False, compare=False)

    def mark(self, how_far: int) -> None:
        """Tell the parent."""
        if self.marks is not None:
            self.marks[self.rank] = how_far


@dataclass(frozen=True)
class Outcome:
    """What one rank answered: ``value``, or ``error`` with the end of its log.

    ``lost``: the error is that of a lost connection.  ``silent``: there was no answer in time.  ``late``: nor was the
    rank waiting for anything, it still computed, so nothing is known of the port.  ``meeting``: the rank had not found
    the others yet, so it had run nothing of the port.  ``missing``: the package that is not installed and that the file
    ``raised_in`` imports.
    """

    rank: int
    value: Any = None
    error: str = ""
    refused: str = ""
    log: str = ""
    lost: bool = False
    silent: bool = False
    late: bool = False
    meeting: bool = False
    missing: str = ""
    raised_in: str = ""

    @property
    def apart(self) -> bool:
        """Whether it failed for want of the other ranks, or died while it looked for them."""
        return self.meeting and (self.lost or self.silent or self.error == DIED)


DIED = "died without an answer"


class RankError(Exception):
    """A rank failed.  ``refused`` is set if it was the verifier that could not go on, not the port that failed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def reserve_port() -> tuple[int, socket.socket]:
    """A TCP port on loopback that nothing listens on, and what keeps other runs of ours off it until it is closed.

    It lies below the range from which the kernel takes ports of its own accord, so that no connection gets it either.

    Raises:
        RuntimeError: all of them are taken.
    """
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = max(1024, ephemeral - PORTS)
    start = random.SystemRandom().randrange(ephemeral - first)
    for offset in range(ephemeral - first):
        port = first + (start + offset) % (ephemeral - first)
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mark.bind(f"\0omniport-rendezvous-{port}")  # no file: it goes with the process that holds it
            with socket.socket() as probe:
                probe.bind(("", port))
        except OSError:
            mark.close()
            continue
        return port, mark
    raise RuntimeError("no TCP port is free for the ranks to meet at")


def thread_count() -> int:
    """Threads of this process, those that Python does not know included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def fork_ranks(task: Callable[[Rank], Any], world: int, *, logs: Path, name: str, limit: float = 90.0) -> list[Any]:
    """Run ``task`` in ``world`` forked processes and return what each returned, by rank.

    ``task`` runs only in the children; what it returns must be picklable.  Ranks that do not find each other, as
    happens on a machine with too much to do, are tried once more.

    Raises:
        RankError: a rank raised, died, or did not answer within ``limit`` seconds.  One that still computed then is no
            failure of the port: ``refused`` says that it took too long.
    """
    for _ in range(ATTEMPTS):
        outcomes = _attempt(task, world, logs, name, limit)
        failed = [o for o in outcomes.values() if o.error]
        if not failed:
            return [outcomes[rank].value for rank in range(world)]
        # In the order of arrival: the rank that raised first explains more than those that lost their connection to it.
        first = next((o for o in failed if o.refused), None) or _own(failed)
        if not first.apart:
            raise RankError(first)
    said = f"the ranks did not find each other, {ATTEMPTS} times, before the port ran: {' '.join(first.error.split())}"
    raise RankError(replace(first, error=said, refused=said))


def _own(failed: list[Outcome]) -> Outcome:
    """The failure that explains the others: an error of a rank's own, else one of those that were left alone."""
    told = [o for o in failed if not o.silent and not o.lost and not o.apart]
    return next(iter(told), None) or next((o for o in failed if o.apart), failed[0])


def _attempt(task: Callable[[Rank], Any], world: int, logs: Path, name: str, limit: float) -> dict[int, Outcome]:
    """Fork the ranks once; their outcomes by rank, in the order in which they arrived."""
    if (threads := thread_count()) != 1:
        raise RuntimeError(f"{threads} threads before a fork: something computed in the parent")
    port, reserved = reserve_port()
    sys.stdout.flush()
    sys.stderr.flush()
    children: list[tuple[int, Connection]] = []
    with mmap.mmap(-1, world) as marks:
        for rank in range(world):
            receive, send = Pipe(duplex=False)
            pid = os.fork()
            if pid == 0:
                receive.close()
                _child(task, Rank(rank, world, port, marks), send, logs / f"{name}.{rank}.log")
            send.close()
            children.append((pid, receive))
        try:
            outcomes = _collect(children, limit)
        finally:
            for pid, receive in children:
                receive.close()
                _end(pid)
            reserved.close()
        for rank in range(world):
            log = logs / f"{name}.{rank}.log"
            said = telling_part(log.read_text(errors="replace")) if log.is_file() else ""
            outcomes[rank] = replace(outcomes[rank], log=said, meeting=marks[rank] == MEETING)
    return outcomes


def telling_part(log: str, lines: int = 25) -> str:
    """The end of a log; of a rank that hung the inner frames of its stack, which faulthandler prints first."""
    _, marker, stack = log.rpartition("Current thread ")
    if marker:
        return "\n".join((marker + stack).splitlines()[:lines])
    return "\n".join(log.splitlines()[-lines:])


def _collect(children: list[tuple[int, Connection]], limit: float) -> dict[int, Outcome]:
    """Outcomes by rank, in the order in which they arrived; ranks without an answer come last."""
    outcomes: dict[int, Outcome] = {}
    pending = {receive: rank for rank, (_, receive) in enumerate(children)}
    end = time.monotonic() + limit
    while pending and (left := end - time.monotonic()) > 0:
        for ready in wait(list(pending), timeout=left):
            assert isinstance(ready, Connection)
            rank = pending.pop(ready)
            try:
                outcomes[rank] = Outcome(rank, **pickle.loads(ready.recv_bytes()))  # from our own child
            except EOFError:
                outcomes[rank] = Outcome(rank, error=DIED)
            if outcomes[rank].error:
                end = min(end, time.monotonic() + GRACE)
    failed = any(o.error for o in outcomes.values())
    late = set() if failed else computing([children[rank][0] for rank in pending.values()])
    for rank in pending.values():
        pid = children[rank][0]
        os.kill(pid, signal.SIGUSR1)  # its stacks go to its log
        error = "no answer while another rank failed" if failed else f"no answer within {limit:.0f} s, it only waited"
        said = f"rank {rank} took longer than {limit:.0f} s" if pid in late else ""
        outcomes[rank] = Outcome(rank, error=said or error, refused=said, silent=True, late=pid in late)
    if pending:
        time.sleep(STACKS)
    return outcomes


def computing(leaders: Sequence[int]) -> set[int]:
    """Those of some leaders of process groups that have something to do: they run, or would on an idle processor.

    A rank that waits in a collective for one that never comes sleeps, and so does one that waits for a lock.
    """
    seen = Counter[int]()
    for look in range(LOOKS if leaders else 0):
        time.sleep(APART if look else 0)
        seen.update(_busy_groups() & set(leaders))
    return {leader for leader, often in seen.items() if often > LOOKS / 2}


def _busy_groups() -> set[int]:
    """Groups of processes of which a thread runs, is ready to, or waits for a disk."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/task/*/stat"):
        try:
            state, _, group = file.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has just ended
            continue
        if state in "RD":
            found.add(int(group))
    return found


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def place_of(error: BaseException) -> str:
    """Where an exception was raised: ``" (module.py:12 in forward)"``."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""


def missing_package(error: BaseException) -> dict[str, str]:
    """The package that is not installed and the file that imports it, where that is what went wrong; else nothing."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return {}
    package = error.name.partition(".")[0]
    # Frames of the import system have no file, or are import_module's; the last of the others holds the statement.
    frames = traceback.extract_tb(error.__traceback__)
    files = [f.filename for f in frames if not f.filename.startswith("<") and f.filename != importlib.__file__]
    try:
        installed = importlib.util.find_spec(package) is not None
    except ValueError:  # a stand-in without a spec
        installed = True
    return {} if installed or not files else {"missing": package, "raised_in": files[-1]}


def lost_connection(error: BaseException) -> bool:
    """Whether an error is that of a connection between ranks: of their store (PyTorch's), or of gloo."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"DistError", "ConnectionError"}) or ("RuntimeError" in kinds and "gloo" in str(error).lower())


def _child(task: Callable[[Rank], Any], rank: Rank, send: Connection, log: Path) -> NoReturn:
    from omniport.errors import OmniportError

    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler cleans up after it, which is not ours to do
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    answer: dict[str, Any]
    try:
        answer = {"value": task(rank)}
        payload = pickle.dumps(answer)
    except OmniportError as error:
        traceback.print_exc()
        payload = pickle.dumps({"error": str(error), "refused": str(error)})
    except BaseException as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}{place_of(error)}"
        payload = pickle.dumps({"error": said, "lost": lost_connection(error), **missing_package(error)})
    sys.stdout.flush()
    sys.stderr.flush()
    send.send_bytes(payload)
    os._exit(0)  # a normal exit takes 2 s with this many modules, and joins threads that may hang
