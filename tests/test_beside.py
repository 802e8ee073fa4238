"""A second process: answers and errors come back, what goes wrong with it is done here, and nothing is left of it."""

from __future__ import annotations

import functools
import multiprocessing.process
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from omniport import beside as room
from omniport.beside import Answer, Beside, allowed
from omniport.errors import InternalError, OmniportError, UnsupportedError

HERE = os.getpid()
KEPT: list[object] = []


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    """A second process on any machine; the tests' own may have threads and one core."""
    monkeypatch.setattr(room, "allowed", lambda: True)
    with Beside() as made:
        yield made


def place(*_: object) -> int:
    return os.getpid()


def keep(*values: object) -> list[object]:
    KEPT.extend(values)
    return KEPT


def kept(wanted: object) -> tuple[int, bool]:
    return len(KEPT), any(value is wanted for value in KEPT)


def refuse(construct: str) -> NoReturn:
    raise UnsupportedError(construct, "models/x.py", 7)


def fails_within() -> NoReturn:
    try:
        raise KeyError("a")
    except KeyError as error:
        raise InternalError("has a cause") from error


def wrong() -> NoReturn:
    raise ZeroDivisionError(f"in {os.getpid()}")


def dies(how: str) -> int:
    """Here a value, there an end."""
    if os.getpid() != HERE:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "exits":
            os._exit(0)
        elif how == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        raise SystemExit(how)
    return os.getpid()


def prints() -> int:
    print("printed")
    print("printed", file=sys.stderr)
    os.write(1, b"printed")
    os.write(2, b"printed")
    return os.getpid()


def note_length(found: list[object]) -> None:
    KEPT.append(f"of {len(found)}")


def wrong_step(_: object) -> NoReturn:
    raise ZeroDivisionError


def sleep_a_while(_: object) -> None:
    time.sleep(0.2)


def sleep_for_long(_: object) -> None:
    time.sleep(20)


def touch(path: Path, _: object) -> None:
    path.touch()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def sleeps() -> None:
    time.sleep(600)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_answer_comes_from_the_second_process(second: Beside) -> None:
    asked = second.ask(place)
    assert asked.beside
    there = asked.result()
    assert there != os.getpid() and lives(there)
    assert second.ask(place).result() == there, "one process for all questions"
    second.close()
    assert not lives(there)
    assert second.ask(place).result() == os.getpid(), "no second one after its end"


def test_it_keeps_what_it_has_read_and_knows_what_it_began_with(second: Beside) -> None:
    tree, other = ["a tree"], ["a tree"]
    KEPT.clear()
    assert second.ask(keep, tree, 1, 2).result() == [tree, 1, 2]
    assert KEPT == [], "what is kept there is not kept here"
    assert second.ask(kept, tree).result() == (3, True)
    assert second.ask(kept, other).result() == (3, False), "an object that it does not know is a copy there"


def test_a_refusal_comes_back_as_it_was_raised(second: Beside) -> None:
    with pytest.raises(UnsupportedError) as here:
        refuse("while loop")
    with pytest.raises(UnsupportedError) as there:
        second.ask(refuse, "while loop").result()
    for error in (here.value, there.value):
        assert str(error) == "models/x.py:7: while loop"
        assert (error.construct, error.file, error.line) == ("while loop", "models/x.py", 7)
    assert not any(frame.name == "refuse" for frame in traceback.extract_tb(there.tb)), "it was not called here"
    assert second.ask(place).result() != os.getpid(), "a refusal is no end"


def test_a_bug_is_raised_here_with_its_traceback(second: Beside) -> None:
    with pytest.raises(ZeroDivisionError, match=f"in {os.getpid()}") as found:
        second.ask(wrong).result()
    assert traceback.extract_tb(found.tb)[-1].name == "wrong"
    with pytest.raises(InternalError) as refused:
        second.ask(fails_within).result()
    assert isinstance(refused.value.__cause__, KeyError), "the cause of a report is wanted, too"


def is_done_here(second: Beside, how: str) -> None:
    asked = second.ask(dies, how)
    assert asked.beside and asked.result() == os.getpid()
    later = second.ask(place)
    assert not later.beside and later.result() == os.getpid()


@pytest.mark.parametrize("how", ["killed", "exits", "interrupted", "leaves"])
def test_what_a_dead_process_was_asked_is_done_here(second: Beside, how: str) -> None:
    is_done_here(second, how)


def test_the_check_of_a_dead_process_can_fail(second: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: one that takes what a dead process left for an answer."""

    def trusting(self: Beside) -> tuple[int, object]:
        assert self._answers is not None
        return room._VALUE, self._answers.read()

    monkeypatch.setattr(Beside, "_receive", trusting)
    with pytest.raises(AssertionError):
        is_done_here(second, "killed")


def test_half_an_answer_is_none(second: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = room._answer
    monkeypatch.setattr(room, "_answer", lambda call: whole(call)[:-3])
    asked = second.ask(keep, "x" * 1000)
    KEPT.clear()
    second._questions.close()  # it ends, and no further answer completes the first one
    assert asked.result() == ["x" * 1000] == KEPT, "called here"


def test_what_cannot_be_sent_is_done_here(second: Beside) -> None:
    assert second.ask(lambda: lambda: 1).result()() == 1, "an answer that pickle does not take"
    assert second.ask(place).result() != os.getpid()
    asked = second.ask(lambda: os.getpid())
    assert not asked.beside and asked.result() == os.getpid(), "a question that pickle does not take"
    assert second.ask(place).result() != os.getpid()


def test_what_is_done_meanwhile_is_kept_there(second: Beside, tmp_path: Path) -> None:
    KEPT.clear()
    asked = second.ask(keep, 1)
    second.meanwhile(note_length, note_length, functools.partial(touch, tmp_path / "done"))
    assert asked.result() == [1] and KEPT == []
    wait_for(tmp_path / "done")
    assert second.ask(keep).result() == [1, "of 1", "of 2"], "each is called with the answer, in turn"


def test_a_question_waits_for_no_more_than_one_step(second: Beside) -> None:
    began = time.monotonic()
    asked = second.ask(keep, 1)
    second.meanwhile(sleep_a_while, *[sleep_for_long] * 3)
    asked.result()
    assert second.ask(keep, 2).result()[-1] == 2
    assert time.monotonic() - began < 15


def test_a_step_that_fails_is_lost(second: Beside, tmp_path: Path) -> None:
    KEPT.clear()
    asked = second.ask(keep)
    second.meanwhile(wrong_step, note_length, functools.partial(touch, tmp_path / "done"))
    asked.result()
    wait_for(tmp_path / "done")
    assert second.ask(keep).result() == ["of 0"], "those after it are taken"


def test_steps_need_an_answer(second: Beside) -> None:
    KEPT.clear()
    second.meanwhile(note_length)
    assert not second._pid, "nothing was asked"
    asked = second.ask(refuse, "a loop")
    second.meanwhile(note_length)
    with pytest.raises(UnsupportedError):
        asked.result()
    second.ask(place).result()
    assert second.ask(keep).result() == [], "a refusal is none"


def test_an_answer_that_nobody_reads_yet_keeps_no_step_waiting(second: Beside, tmp_path: Path) -> None:
    asked = second.ask(bytes, 200_000)
    second.meanwhile(functools.partial(touch, tmp_path / "taken"))
    wait_for(tmp_path / "taken")
    assert asked.result() == bytes(200_000)


def test_one_question_at_a_time(second: Beside) -> None:
    first, other = second.ask(place), second.ask(place)
    assert first.beside and not other.beside
    assert other.result() == os.getpid() != first.result()


def test_a_large_question_and_a_large_answer(second: Beside) -> None:
    text = "x" * 5_000_000
    assert second.ask(str.upper, text).result() == text.upper()
    assert second.ask(str.upper, text + "y").result() == text.upper() + "Y"


def test_it_prints_nothing_and_runs_no_clean_up(second: Beside, capfd: pytest.CaptureFixture[str]) -> None:
    print("before", end="")  # in a buffer that a second process would write once more
    asked = second.ask(prints)
    assert asked.beside and asked.result() != os.getpid()
    second.close()
    assert capfd.readouterr() == ("before", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OmniportError])
def test_whatever_ends_the_block_ends_the_process(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    monkeypatch.setattr(room, "allowed", lambda: True)
    began, pid = time.monotonic(), 0
    with pytest.raises(error), Beside() as second:
        assert second.ask(sleeps).beside
        pid = second._pid
        assert lives(pid)
        raise error
    assert not lives(pid) and time.monotonic() - began < 60


def test_a_machine_that_makes_no_process(second: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", none)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    asked = second.ask(place)
    assert not asked.beside and asked.result() == os.getpid()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# ------------------------------------------------------------------------------------------------- whether there is one
@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process of one thread on two cores."""
    monkeypatch.delenv(room.VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(room, "_threads", lambda: 1)
    assert allowed()
    return monkeypatch


Change = Callable[[pytest.MonkeyPatch], None]
AGAINST: dict[str, Change] = {
    "one core": lambda patch: patch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False),
    "no fork": lambda patch: patch.delattr(os, "fork"),
    "cores are not known": lambda patch: patch.delattr(os, "sched_getaffinity"),
    "told not to": lambda patch: patch.setenv(room.VARIABLE, "1"),
    "threads": lambda patch: patch.setattr(room, "_threads", lambda: 2),
    "one of a pool": lambda patch: patch.setattr(multiprocessing.process, "parent_process", lambda: object()),
}


@pytest.mark.parametrize("what", AGAINST)
def test_where_there_is_none(roomy: pytest.MonkeyPatch, what: str) -> None:
    AGAINST[what](roomy)
    assert not allowed()
    with Beside() as second:
        asked: Answer[int] = second.ask(place)
        assert not asked.beside and asked.result() == os.getpid()


def test_nobody_wants_one(roomy: pytest.MonkeyPatch) -> None:
    assert Beside(alone=True).ask(place).result() == os.getpid()


def test_threads_are_counted() -> None:
    before, end = room._threads(), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert room._threads() == before + 1
    end.set()
    thread.join()
