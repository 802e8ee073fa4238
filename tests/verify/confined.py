"""A process for tests of the sandbox: ``python -m tests.verify.confined WORK``, as ``omniport.verify.runner`` is run.

``WORK/what`` names what it does once it is confined; it prints one line that says how that went.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from omniport.verify import sandbox


def say(text: object) -> None:
    print(text, flush=True)


def attempt(action) -> None:  # type: ignore[no-untyped-def]
    try:
        action()
        say("done")
    except BaseException as error:
        say(f"{type(error).__name__}: {error}")


def daemon() -> None:
    """A process that leaves its session and its parent, as a daemon does, and sleeps."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    time.sleep(0.2)


def loopback() -> None:
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())


def connect(host: str, port: int) -> None:
    with socket.socket() as client:
        client.settimeout(2)
        client.connect((host, port))


def main(work: Path) -> None:
    what, *rest = (work / "what").read_text().split("\n")
    missing = sandbox.enter(work)
    if what == "missing":
        say(missing)
    elif what == "write":
        attempt(lambda: Path(rest[0]).write_text("x"))
    elif what == "connect":
        attempt(lambda: connect(rest[0], int(rest[1])))
    elif what == "lookup":
        attempt(lambda: socket.getaddrinfo("example.com", 80))
    elif what == "loopback":
        attempt(loopback)
    elif what == "memory":
        attempt(lambda: bytearray(3 << 30))
    elif what == "daemon":
        daemon()
        say("left")
    elif what == "daemon and wait":
        daemon()
        say("left")
        time.sleep(600)
    elif what == "silence":
        time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
