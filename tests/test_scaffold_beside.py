"""A port that two processes made is the port that one makes, and so is a refusal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from omniport import beside as room
from omniport import port
from omniport.analyse import foreseen
from omniport.analyse.demand import NOTHING, Demand
from omniport.beside import Answer, Beside
from omniport.errors import OmniportError, UnsupportedError
from omniport.port import analyse_transformer
from omniport.scaffold import scaffold
from omniport.update import update

ROOT = Path(__file__).parents[1]
FLUX = str(ROOT / "fixtures" / "hub" / "black-forest-labs" / "FLUX.1-dev")
BRIA = "diffusers:BriaFiboPipeline"  # its demand holds members and data in attention arguments

ASKED = [(name, True) for name in ("plan_pipeline", "render_pipeline", "texts", "resolved")]

Made = dict[str, bytes] | str


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was asked of a second process, and whether it worked on it."""
    found: list[tuple[str, bool]] = []
    ask = Beside.ask

    def noted(self: Beside, function: Callable[..., object], /, *args: object, **kwargs: object) -> Answer[object]:
        answer = ask(self, function, *args, **kwargs)
        found.append((function.__name__.strip("_"), answer.beside))
        return answer

    monkeypatch.setattr(Beside, "ask", noted)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, bool], Made]:
    """The files of a port by their path, or the message of a refusal; with a second process or without."""

    def make(model: str, two: bool) -> Made:
        monkeypatch.setattr(room, "allowed", lambda: two)
        root = tmp_path / "port"
        try:
            scaffold(model, into=None, plugin=root, offline=True)
        except OmniportError as error:
            assert not root.exists()
            return f"{type(error).__name__}: {error}"
        moved = root.rename(tmp_path / f"made-{two}")
        return {file.relative_to(moved).as_posix(): file.read_bytes() for file in moved.rglob("*") if file.is_file()}

    return make


@pytest.mark.parametrize("model", [FLUX, BRIA])
def test_two_processes_make_the_port_that_one_makes(
    made: Callable[[str, bool], Made], asked: list[tuple[str, bool]], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed: list[Demand | None] = []
    monkeypatch.setattr(port, "analyse_transformer", lambda *a: analysed.append(a[-1]) or analyse_transformer(*a))
    two = made(model, True)
    assert asked == ASKED
    assert len(analysed) == 1, "what the pipeline asks was foreseen"
    asked.clear()
    assert made(model, False) == two and len(two) > 5
    assert [beside for _, beside in asked] == [False] * len(ASKED)


def test_a_wrong_guess_costs_time_alone(
    made: Callable[[str, bool], Made], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = made(BRIA, False)
    monkeypatch.setattr(foreseen, "foreseen_demand", lambda *_: NOTHING)
    assert made(BRIA, True) == right


def test_a_guess_that_were_believed_would_be_seen(
    made: Callable[[str, bool], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: a plan for what was foreseen, not for what is so."""
    right = made(BRIA, False)
    monkeypatch.setattr("omniport.analyse.demand.demand_of", lambda plan: NOTHING)
    monkeypatch.setattr(foreseen, "foreseen_demand", lambda *_: NOTHING)
    assert made(BRIA, True) != right


def test_a_guess_that_fails_is_none(made: Callable[[str, bool], Made], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Demand:
        raise UnsupportedError("nothing is foreseen")

    right = made(FLUX, False)
    monkeypatch.setattr(foreseen, "foreseen_demand", fails)
    assert made(FLUX, True) == right


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("diffusers:EasyAnimateControlPipeline", "pipeline_easyanimate_control.py:998: "),
        ("diffusers:AnyFlowFARPipeline", "transformer_anyflow_far.py:"),
        ("diffusers:NoPipeline", "NoPipeline"),
        ("diffusers:StableDiffusionPipeline", "runs no transformer"),
    ],
)
def test_a_refusal_is_the_same(made: Callable[[str, bool], Made], model: str, message: str) -> None:
    two = made(model, True)
    assert message in two and two == made(model, False)


@pytest.mark.parametrize(("model", "times"), [("diffusers:StableDiffusionPipeline", 0), (FLUX, 1)])
def test_no_refusal_waits_for_the_analysis_of_a_u_net(
    made: Callable[[str, bool], Made], monkeypatch: pytest.MonkeyPatch, model: str, times: int
) -> None:
    analysed: list[object] = []
    monkeypatch.setattr(port, "analyse_transformer", lambda *a: analysed.append(a) or analyse_transformer(*a))
    made(model, True)
    assert len(analysed) == times


@pytest.mark.parametrize("two", [True, False])
def test_the_pipeline_is_refused_first(
    made: Callable[[str, bool], Made], monkeypatch: pytest.MonkeyPatch, two: bool
) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedError("the transformer")

    monkeypatch.setattr(port, "analyse_transformer", refuse)
    assert "pipeline_easyanimate_control.py:998: " in made("diffusers:EasyAnimateControlPipeline", two)
    assert made(FLUX, two) == "UnsupportedError: the transformer"


def test_plan_and_update_use_it_as_well(
    made: Callable[[str, bool], Made], asked: list[tuple[str, bool]], tmp_path: Path
) -> None:
    made(FLUX, True)
    asked.clear()
    port.plan(FLUX, offline=True)
    assert asked == [("plan_pipeline", True)]
    asked.clear()
    again = update(tmp_path / "made-True", offline=True)
    assert {file.verb for file in again.files} == {"identical"}
    assert asked[: len(ASKED)] == ASKED


PROGRAM = """
import os, pathlib, signal, sys, time
from omniport import beside, port
from omniport.cli import main

def slow(*_):
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(600)

beside.allowed, port._plan_pipeline, port._foreseen = (lambda: True), slow, (lambda *_: None)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "scaffold", FLUX, "--plugin", "port", "--offline"]
    first = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until, note = time.monotonic() + 60, tmp_path / "pid"
        while not (note.exists() and note.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        second = int(note.read_text())
        assert second != first.pid
        os.kill(second, 0)
        first.send_signal(number)
        assert first.wait(60) == 128 + number
    finally:
        first.kill()
        first.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
    assert not (tmp_path / "port").exists()


@pytest.mark.parametrize("two", [True, False])
def test_the_target_of_a_plugin_is_read_while_libcst_is_imported(two: bool) -> None:
    code = f"""
import sys
from omniport import beside
from omniport.beside import Beside
from omniport.port import plugin_target
from omniport.target.tree import installed_target
beside.allowed = lambda: {two}
asked, ask = [], Beside.ask
def noted(self, function, /, *args):
    answer = ask(self, function, *args)
    asked.append((function.__name__, answer.beside))
    return answer
Beside.ask = noted
assert "libcst" not in sys.modules
found = plugin_target()
assert asked == [("installed_target", {two})]
assert ("libcst" in sys.modules) == {two}
assert found == installed_target() and hash(found.features) == hash(installed_target().features)
import libcst
assert plugin_target() == found and len(asked) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
