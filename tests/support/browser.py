"""A headless Chromium, spoken to over pipes: what a page looks like to one who opens it.

As a command it takes a picture of a page::

    python -m tests.support.browser PAGE.html PICTURE.png [WIDTH HEIGHT]
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LIMIT = 60.0  # seconds that an answer may take


def find_browser() -> str | None:
    """The Chromium of this machine: $OMNIPORT_BROWSER, or one on the path."""
    given = os.environ.get("OMNIPORT_BROWSER")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab.  ``problems`` are errors and requests for anything but the page itself."""

    def __init__(self, send: int, receive: int) -> None:
        self.problems: list[str] = []
        self._send, self._receive = send, receive
        self._number = 0
        self._session: str | None = None
        self._rest = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, path: Path, width: int = 1100, height: int = 900) -> None:
        """Load a local page and wait until it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._address = path.resolve().as_uri()
        self.call("Page.navigate", url=self._address)
        end = time.monotonic() + LIMIT
        while self.evaluate("document.readyState + ' ' + location.href") != f"complete {self._address}":
            assert time.monotonic() < end, "the page does not load"
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def picture(self, width: int, height: int) -> bytes:
        """The first ``width`` x ``height`` pixels as PNG."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._receive, 1 << 16)
            if not part:
                raise RuntimeError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"].get("text")))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent" and parameters["request"]["url"] not in (
            getattr(self, "_address", ""),
            "about:blank",
        ):
            self.problems.append(f"request for {parameters['request']['url']}")
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {parameters['message']}")


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """Start ``program`` and open a tab."""
    to_child, send = os.pipe()
    receive, from_child = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={home}", "--remote-debugging-pipe", "about:blank"]
        # the protocol reads from descriptor 3 and writes to 4
        child = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_child} 4>&{from_child}', "browser", *command],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        try:
            yield Page(send, receive)
        finally:
            os.close(send)
            child.terminate()
            child.wait(20)
            os.close(receive)


def main() -> None:
    page, picture, *size = sys.argv[1:]
    width, height = map(int, size or ("1080", "1400"))
    program = find_browser()
    if program is None:
        raise SystemExit(f"no browser found; install one of {', '.join(NAMES)} or set OMNIPORT_BROWSER")
    with browser(program) as tab:
        tab.open(Path(page), width, height)
        Path(picture).write_bytes(tab.picture(width, height))


if __name__ == "__main__":
    main()
