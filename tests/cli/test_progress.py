"""Progress: plain lines where nobody sees a moving one, nothing when asked to be quiet, completion in every shell."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from omniport import progress
from omniport.options import complete_codes, complete_features
from omniport.progress import Progress, mode_of
from tests.support.hubserver import environment, serve

ROOT = Path(__file__).parents[2]
MAIN = "from omniport.cli import main; main()"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_mode_is_that_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert mode_of(io.StringIO(), quiet=False) == "plain"
    assert mode_of(Terminal(), quiet=False) == "terminal"
    assert mode_of(Terminal(), quiet=True) == mode_of(io.StringIO(), quiet=True) == "quiet"
    monkeypatch.setenv("TERM", "dumb")
    assert mode_of(Terminal(), quiet=False) == "plain"


def test_plain_output_is_one_line_a_step() -> None:
    stream = io.StringIO()
    shown = Progress("plain", 2, stream)
    shown.say("working")
    shown.step("parity: validated")
    shown.step("tp2: \x1b[31mlimited")
    assert stream.getvalue() == "[1/2] parity: validated\n[2/2] tp2: \\x1b[31mlimited\n"


def test_quiet_is_silent() -> None:
    stream = io.StringIO()
    shown = Progress("quiet", 2, stream)
    shown.say("working")
    shown.step("parity")
    assert stream.getvalue() == ""


def test_a_terminal_shows_what_is_going_on_and_is_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = Progress("terminal", 3, stream)
    shown.say("[red]tp2[/red]")
    shown.step("parity")
    shown._shown().refresh()
    shown.close()
    assert "1/3" in stream.getvalue() and "[red]tp2[/red]" in stream.getvalue()  # what is said is no markup
    assert stream.getvalue().endswith("\x1b[2K")  # the line is taken away


def test_rooms_may_speak_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("nobody")
    with progress.shown(quiet=False) as shown:
        progress.say("somebody")
        shown.step("done")
    assert capsys.readouterr().err == "done\n"


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes to a terminal."""
    near, far = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
    child = subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stdout=far, stderr=far, env=env)
    os.close(far)
    found = b""
    try:
        while part := os.read(near, 4096):
            found += part
    except OSError:  # Linux says so at the end
        pass
    os.close(near)
    child.wait(60)
    return found.decode()


def test_no_color_takes_the_colours_from_a_terminal(tmp_path: Path) -> None:
    missing = ("verify", str(tmp_path))
    assert "\x1b[1;31merror: " in on_a_terminal(*missing)
    plain = on_a_terminal(*missing, NO_COLOR="1")
    assert "error: " in plain and "31m" not in plain


def test_downloads_are_shown_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    asked = ("plan", "black-forest-labs/FLUX.1-dev", "--json")
    with serve() as hub:
        env = environment(hub.endpoint, tmp_path)
        assert "black-forest-labs/FLUX.1-dev: " in on_a_terminal(*asked, **env).partition("{")[0]
        quiet = on_a_terminal(*asked, "--quiet", **env)
        command = [sys.executable, "-c", MAIN, *asked]
        piped = subprocess.run(
            command, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        )
    assert quiet.lstrip().startswith("{") and piped.stdout.startswith("{") and piped.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(shell: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_OMNIPORT_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-c", f"import sys; sys.argv = ['omniport']; {MAIN}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "_OMNIPORT_COMPLETE" in done.stdout and "omniport" in done.stdout, done.stderr


def test_names_are_completed() -> None:
    assert complete_features("la") == ["layerwise"] and "parity" in complete_features("")
    assert [code for code, _ in complete_codes("op401")] == ["OP401"]
    assert complete_codes("x") == []


def test_the_shell_is_told_the_commands() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_OMNIPORT_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": "omniport ver", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", f"import sys; sys.argv = ['omniport']; {MAIN}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["verify"]
