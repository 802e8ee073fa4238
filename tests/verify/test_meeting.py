"""Where ranks find each other: marks for the parent, rank 0 first, and gloo's own words for a lost connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from omniport.verify import meeting as meetings
from omniport.verify.forks import MEETING, MET, Rank, lost_connection
from omniport.verify.meeting import listened_at, meeting


class Worker:
    """A worker that finds the others by ``connect``, which may fail."""

    connect = staticmethod(lambda: None)

    def init_device(self) -> None:
        type(self).connect()


def marked(world: int, number: int, port: int = 1) -> tuple[bytearray, Rank]:
    marks = bytearray(world)
    return marks, Rank(number, world, port, marks)  # type: ignore[arg-type]


def test_a_rank_is_at_the_meeting_until_it_has_found_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    marks, rank = marked(2, 0)
    seen: list[bytes] = []
    monkeypatch.setattr(Worker, "connect", staticmethod(lambda: seen.append(bytes(marks))))
    with meeting(rank, Worker):
        assert marks[0] == 0
        Worker().init_device()
    assert seen == [bytes([MEETING, 0])] and marks[0] == MET


def test_a_rank_that_fails_there_stays_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("nobody there")

    marks, rank = marked(2, 0)
    monkeypatch.setattr(Worker, "connect", staticmethod(fail))
    with pytest.raises(ConnectionError), meeting(rank, Worker):
        Worker().init_device()
    assert marks[0] == MEETING


def test_the_worker_is_as_before_behind_it() -> None:
    before = Worker.init_device
    with meeting(marked(1, 0)[1], Worker):
        assert Worker.init_device is not before
    assert Worker.init_device is before


def test_a_socket_is_seen_once_it_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not listened_at(port)
        server.listen()
        assert listened_at(port)
    assert not listened_at(port)


def test_others_wait_for_rank_0_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        timer = threading.Timer(0.2, server.listen)
        begun = time.monotonic()
        timer.start()
        with meeting(marked(2, 1, port)[1], Worker):
            Worker().init_device()
        assert 0.2 <= time.monotonic() - begun < 5
        timer.join()
    monkeypatch.setattr(meetings, "PATIENCE", 0.05)
    with meeting(marked(2, 1, port)[1], Worker):
        Worker().init_device()  # it finds out for itself


GLOO = """
import os, sys, torch.distributed as dist
from datetime import timedelta
from omniport.verify.forks import Rank, RankError, fork_ranks, MEETING, MET
from pathlib import Path

def task(rank):
    import torch
    rank.mark(MEETING)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{rank.port}", rank=rank.rank, world_size=2, timeout=timedelta(seconds=20)
    )
    if sys.argv[2] == "met":
        rank.mark(MET)
    if rank.rank:
        os._exit(3) if sys.argv[2] == "meeting" else dist.barrier()
        raise ValueError("the port's mistake")
    dist.barrier()
    if sys.argv[2] == "met":
        dist.barrier()

try:
    fork_ranks(task, 2, logs=Path(sys.argv[1]), name="t")
except RankError as error:
    print("refused" if error.outcome.refused else "failed", error.outcome.error)
"""


@pytest.mark.parametrize(
    ("when", "said"),
    [("meeting", "refused the ranks did not find each other"), ("met", "failed ValueError: the port's")],
)
def test_gloo_that_loses_a_rank(tmp_path: Path, when: str, said: str) -> None:
    """A connection that gloo itself loses: before the port runs no verdict, behind it the failure of the rank."""
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", GLOO, str(tmp_path), when], capture_output=True, text=True, env=env, timeout=300
    )
    assert ran.stdout.startswith(said), ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"), True),
        (ConnectionResetError("reset"), True),
        (type("DistNetworkError", (type("DistError", (RuntimeError,), {}),), {})("timed out"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
    ],
)
def test_errors_of_a_connection_are_told_from_others(error: Exception, lost: bool) -> None:
    assert lost_connection(error) is lost
