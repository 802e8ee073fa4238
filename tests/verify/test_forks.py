"""Forked ranks: answers, failures, hangs; none of it needs torch."""

from __future__ import annotations

import importlib
import os
import re
import threading
import time
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.verify import forks
from omniport.verify.forks import Rank, RankError, fork_ranks, thread_count


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of the session may have left threads; only the test of the rule itself counts them."""
    if "forbids" not in request.node.name:
        monkeypatch.setattr(forks, "thread_count", lambda: 1)


def test_each_rank_answers_in_order(tmp_path: Path) -> None:
    answers = fork_ranks(lambda r: (r.rank, r.world, r.port, os.getpid()), 3, logs=tmp_path, name="t")
    assert [(rank, world) for rank, world, _, _ in answers] == [(0, 3), (1, 3), (2, 3)]
    assert len({port for *_, port, _ in answers}) == 1, "the ranks meet at one port"
    assert len({pid for *_, pid in answers} | {os.getpid()}) == 4


def test_children_do_not_touch_the_parent(tmp_path: Path) -> None:
    seen: list[int] = []
    fork_ranks(lambda r: seen.append(r.rank), 1, logs=tmp_path, name="t")
    assert seen == []


def test_an_exception_is_the_ports_failure(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        os.write(1, b"a line of its log\n")
        raise ValueError("wrong shape")

    with pytest.raises(RankError) as error:
        fork_ranks(task, 1, logs=tmp_path, name="t")
    assert re.fullmatch(r"ValueError: wrong shape \(test_forks.py:\d+ in task\)", error.value.outcome.error)
    assert error.value.outcome.refused == ""
    assert "a line of its log" in error.value.outcome.log


def test_a_refusal_is_told_from_a_failure(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        if rank.rank == 0:
            raise ValueError("lost its peer")
        time.sleep(0.2)
        raise OmniportError("no recipe makes a tiny X")

    with pytest.raises(RankError) as error:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert error.value.outcome.refused == "no recipe makes a tiny X"


def test_the_first_rank_to_fail_is_reported(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        if rank.rank == 0:
            time.sleep(0.3)
            raise ConnectionError("peer is gone")
        raise ValueError("the mistake")

    with pytest.raises(RankError, match="the mistake") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert error.value.outcome.rank == 1


def test_a_rank_that_waits_for_ever_is_ended_with_its_stack(tmp_path: Path) -> None:
    def wait_for_ever(rank: Rank) -> None:
        time.sleep(600)

    begun = time.monotonic()
    with pytest.raises(RankError, match="no answer within 1 s, it only waited") as error:
        fork_ranks(wait_for_ever, 1, logs=tmp_path, name="t", limit=1)
    assert time.monotonic() - begun < 5
    assert "wait_for_ever" in error.value.outcome.log
    assert (error.value.outcome.refused, error.value.outcome.late) == ("", False)


def compute_for_ever(rank: Rank) -> None:
    while True:
        sum(range(10_000))


@pytest.mark.parametrize("waits", [None, 0, 1])
def test_a_rank_that_still_computes_took_too_long_and_is_no_failure_of_the_port(
    tmp_path: Path, waits: int | None
) -> None:
    """Also where the other one waits for it."""

    def task(rank: Rank) -> None:
        time.sleep(600) if rank.rank == waits else compute_for_ever(rank)

    with pytest.raises(RankError, match="^rank . took longer than 1 s$") as error:
        fork_ranks(task, 1 if waits is None else 2, logs=tmp_path, name="t", limit=1)
    outcome = error.value.outcome
    assert outcome.late and outcome.refused == outcome.error and outcome.rank != waits
    assert "compute_for_ever" in outcome.log


def test_ranks_that_wait_for_each_other_are_the_ports_failure(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        time.sleep(600)

    with pytest.raises(RankError, match="it only waited") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t", limit=1)
    assert (error.value.outcome.refused, error.value.outcome.late) == ("", False)


def test_a_failure_explains_more_than_a_rank_that_computes_on(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        if rank.rank == 0:
            compute_for_ever(rank)
        raise ValueError("the mistake")

    with pytest.raises(RankError, match="the mistake") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert error.value.outcome.refused == ""


def test_a_rank_that_dies_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RankError, match="died without an answer"):
        fork_ranks(lambda r: os._exit(3), 1, logs=tmp_path, name="t")


def children() -> set[str]:
    """The processes that this one has made, those that have ended and were not waited for included."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def test_no_child_is_left(tmp_path: Path) -> None:
    before = children()  # multiprocessing keeps one of its own
    fork_ranks(lambda r: None, 2, logs=tmp_path, name="t")
    assert children() == before
    pid = os.fork()
    if not pid:
        os._exit(0)
    assert children() == {*before, str(pid)}
    os.waitpid(pid, 0)


def test_a_second_thread_forbids_forking(tmp_path: Path) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert thread_count() >= 2
    try:
        with pytest.raises(RuntimeError, match=f"{thread_count()} threads before a fork"):
            fork_ranks(lambda r: None, 1, logs=tmp_path, name="t")
    finally:
        stop.set()
        thread.join()


def test_a_port_is_kept_from_other_runs_until_it_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "PORTS", 3)
    held = []
    with pytest.raises(RuntimeError, match="no TCP port is free"):
        for _ in range(4):
            held.append(forks.reserve_port())
    assert len({port for port, _ in held}) == len(held) >= 1
    port, mark = held.pop()
    mark.close()
    again, mark = forks.reserve_port()
    assert again == port
    for item in (mark, *(mark for _, mark in held)):
        item.close()


def attempts(path: Path) -> int:
    """How often a rank has begun; each writes one byte."""
    return path.stat().st_size if path.is_file() else 0


def begin(path: Path) -> int:
    with path.open("ab") as file:
        file.write(b".")
    return attempts(path)


def test_ranks_that_do_not_find_each_other_are_tried_once_more(tmp_path: Path) -> None:
    def task(rank: Rank) -> int:
        rank.mark(forks.MEETING)
        if rank.rank == 0 and begin(tmp_path / "begun") == 1:
            raise ConnectionError("nobody there")
        rank.mark(forks.MET)
        return rank.port

    one, two = fork_ranks(task, 2, logs=tmp_path, name="t")
    assert one == two and attempts(tmp_path / "begun") == 2


@pytest.mark.parametrize("how", ["raises", "dies", "waits"])
def test_ranks_that_never_find_each_other_say_nothing_of_the_port(tmp_path: Path, how: str) -> None:
    def task(rank: Rank) -> None:
        rank.mark(forks.MEETING)
        if rank.rank == 0:
            begin(tmp_path / "begun")
            if how == "raises":
                raise ConnectionError("nobody there")
            if how == "dies":
                os._exit(3)
            time.sleep(600)
        rank.mark(forks.MET)

    with pytest.raises(RankError, match="the ranks did not find each other, 2 times, before the port ran") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t", limit=1)
    assert error.value.outcome.refused and attempts(tmp_path / "begun") == 2


@pytest.mark.parametrize("error", [ValueError("tensor_parallel_size=2 does not divide 3"), RuntimeError("a mistake")])
def test_an_error_of_another_kind_is_the_ports_while_ranks_look_for_each_other(
    tmp_path: Path, error: Exception
) -> None:
    def task(rank: Rank) -> None:
        rank.mark(forks.MEETING)
        if rank.rank == 0:
            begin(tmp_path / "begun")
            raise error
        raise ConnectionError("rank 0 is gone")

    with pytest.raises(RankError, match=str(error)) as found:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert found.value.outcome.refused == "" and attempts(tmp_path / "begun") == 1


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_port_that_fails_on_a_rank_that_has_met_is_not_tried_again(tmp_path: Path, how: str) -> None:
    """Also where the other rank is still at the meeting, and loses its connection by that."""

    def task(rank: Rank) -> None:
        rank.mark(forks.MEETING)
        if rank.rank == 0:
            time.sleep(0.2)
            raise ConnectionError("rank 1 is gone")
        begin(tmp_path / "begun")
        rank.mark(forks.MET)
        if how == "dies":
            os._exit(3)
        raise RuntimeError("the port's mistake")

    with pytest.raises(RankError, match="the port's mistake|died without an answer") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert error.value.outcome.rank == 1 and error.value.outcome.refused == ""
    assert attempts(tmp_path / "begun") == 1


def test_a_connection_that_is_lost_once_the_port_runs_is_the_ports_failure(tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        rank.mark(forks.MEETING)
        rank.mark(forks.MET)
        raise ConnectionError("the collective of the other rank was another")

    with pytest.raises(RankError, match="another") as error:
        fork_ranks(task, 2, logs=tmp_path, name="t")
    assert error.value.outcome.refused == ""


def test_a_package_that_is_missing_is_told_with_the_file_that_wants_it(tmp_path: Path) -> None:
    def written(rank: Rank) -> None:
        import no_such_package_at_all.part  # type: ignore[import-not-found] # noqa: F401

    def called(rank: Rank) -> None:
        importlib.import_module("no_such_package_at_all")

    for task in (written, called):
        with pytest.raises(RankError) as error:
            fork_ranks(task, 1, logs=tmp_path, name="t")
        assert (error.value.outcome.missing, error.value.outcome.raised_in) == ("no_such_package_at_all", __file__)


@pytest.mark.parametrize("raised", [ValueError("x"), ModuleNotFoundError("no module", name="json.no_such_part")])
def test_anything_else_is_no_missing_package(raised: Exception, tmp_path: Path) -> None:
    def task(rank: Rank) -> None:
        raise raised

    with pytest.raises(RankError) as error:
        fork_ranks(task, 1, logs=tmp_path, name="t")
    assert error.value.outcome.missing == ""
