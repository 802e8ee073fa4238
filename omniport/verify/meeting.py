"""Where the ranks of a check find each other, before any of them runs the port.

What goes wrong here is the machine's failure and says nothing of the port: :func:`omniport.verify.forks.fork_ranks`
tries it once more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from omniport.verify.forks import MEETING, MET, Rank

PATIENCE = 30.0  # seconds for rank 0 to listen; then the others find out for themselves that it does not
POLL = 0.002  # seconds between two looks
_LISTEN = "0A"  # state of a socket in /proc/net/tcp (include/net/tcp_states.h)


@contextmanager
def meeting(rank: Rank, worker: type) -> Iterator[None]:
    """Let a worker that is built inside mark for the parent when it looks for the other ranks, and when it is through.

    Rank 0 is the one that listens.  Another that finds nobody there tries again half a second later, so it waits.
    """
    find_the_others = worker.init_device  # type: ignore[attr-defined]

    def init_device(self: Any) -> None:
        rank.mark(MEETING)
        if rank.rank:
            _wait_for(rank.port)
        find_the_others(self)
        rank.mark(MET)

    with patch.object(worker, "init_device", init_device):
        yield


def _wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while not listened_at(port) and time.monotonic() < end:
        time.sleep(POLL)


def listened_at(port: int) -> bool:
    """Whether a process of this network listens at a TCP port; True where the system does not say."""
    tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.is_file()]
    place = f":{port:04X}"
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == _LISTEN and local.endswith(place):
                return True
    return not tables
