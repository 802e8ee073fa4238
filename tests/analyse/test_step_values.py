"""What is known of the conditions of a loop: that they are the same in all steps, which they are, and by what."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.analyse.step_slice import slice_of
from omniport.analyse.step_values import StepValues, Value
from omniport.plan.model import Scalar
from omniport.source.walk import of_kind


def asked(step: str, before: str = "", over: str = "enumerate(timesteps)", **defaults: Scalar) -> Value:
    """What is known of the condition ``if ...: ask()`` in a step, with arguments at ``defaults``."""
    target = "i, t" if over.startswith(("enumerate", "pairs")) else "t"
    lines = [*before.splitlines(), f"for {target} in {over}:", *(f"    {line}" for line in step.splitlines())]
    entry = cst.parse_statement("def __call__(self, x, scale, cut):\n" + "".join(f"    {line}\n" for line in lines))
    assert isinstance(entry, cst.FunctionDef)
    loop = next(n for n in of_kind(entry, cst.For) if "timesteps" in cst.Module([]).code_for_node(n.iter))
    tests = [n.test for n in of_kind(entry, cst.If)]
    values = StepValues(entry, loop, slice_of(entry, loop, tests), defaults)
    asking = [n for n in of_kind(entry, cst.If) if "ask" in cst.Module([]).code_for_node(n.body)]
    return values.test(asking[-1])


def ask(test: str, before: str = "") -> str:
    return f"{before}if {test}:\n    ask()"


MADE = "timesteps, n = retrieve_timesteps(self.scheduler, n)"


def test_what_no_step_changes_is_the_same_in_all() -> None:
    assert asked(ask("scale > 1")) == Value()
    assert asked(ask("go and x is not None", "go = scale > 1\n")) == Value()
    assert asked(ask("go", "go = scale > 1\nif x:\n    go = False\n")).varies is False


@pytest.mark.parametrize(
    "step",
    [
        ask("t > 0.5"),
        ask("part < 0.5", "part = i / 10\n"),
        ask("go", "go = True\nif i > 2:\n    go = False\n"),
        ask("go", "if t > 1:\n    go = scale\nelse:\n    go = cut\n"),
        ask("first") + "\nfirst = False",
        ask("go", "go = x\ngo += t\n"),
        ask("go", "go = {}\ngo[i] = t\n"),
        ask("go", "for k in range(3):\n    go = k\n"),
        ask("seen[0]") + "\nseen[0] = True",
        ask("seen[0][1]") + "\nseen[0][1] += 1",
        ask("len(seen) > 2") + "\nseen.append(x)",
        ask("len(seen) > 2", "if t > 1:\n    seen.append(x)\n"),
        ask("state.first") + "\nstate.first = False",
        ask("self.first") + "\nself.first = False",
        ask("first", "first = self.first\n") + "\nself.first, k = False, 1",
    ],
)
def test_what_a_step_changes_varies(step: str) -> None:
    found = asked(step)
    assert found.varies and not found.known


def test_a_default_decides_a_condition() -> None:
    assert asked(ask("cut is not None and t > 5"), cut=None) == Value(known=(False,), by=frozenset({"cut"}))
    assert asked(ask("cut is None or t > 5"), cut=None).known == (True,)
    assert asked(ask("not cut"), cut=0.0).known == (True,)
    assert asked(ask("cut is not None and t > 5"), cut=0.5).varies
    assert asked(ask("cut and t > 5"), before="cut = cut or self.cut", cut=None).varies, "bound anew: no default"


def test_a_time_taken_from_a_number_is_a_share_of_it() -> None:
    share = ask("share > cut", "share = (1000 - t.expand(2)) / 1000\n")
    assert asked(share, cut=1.0) == Value(known=(False,), by=frozenset({"cut"}))
    assert asked(share, cut=0.9).varies
    assert asked(ask("share > cut", "share = 1.0 - float(t)\n"), cut=1.0).known == (False,)
    assert asked(ask("0.0 <= 1.0 - t <= cut"), over="self.scheduler.timesteps", cut=1.0).known == (True,)
    assert asked(ask("0.1 <= 1.0 - t <= cut"), cut=1.0).varies
    assert asked(ask("500 - t >= cut"), cut=0).varies, "schedules start at 1000"
    assert asked(ask("1000 - t >= cut"), cut=0).known == (True,)


def test_the_times_themselves_have_no_known_bounds() -> None:
    assert asked(ask("t > cut"), cut=1.0).varies
    assert asked(ask("t / 1000 > cut"), cut=1.0).varies
    assert asked(ask("1000 - x[i] > cut"), cut=1000).varies, "not of the schedule"


def test_the_number_of_a_step_is_a_share_of_all() -> None:
    assert asked(ask("(i + 1) / n > cut"), before=MADE, cut=1.0).known == (False,)
    assert asked(ask("i / len(timesteps) > cut"), before=MADE, cut=1.0).known == (False,)
    assert asked(ask("(i + 2) / n > cut"), before=MADE, cut=1.0).varies
    assert asked(ask("(i + 1) / x > cut"), before=MADE, cut=1.0).varies, "not how many steps there are"
    assert asked(ask("(i + 1) / n > cut"), cut=1.0).varies, "no schedule says what n is"
    assert asked(ask("(i + 1) / n > cut"), before=MADE, over="enumerate(timesteps, 1)", cut=1.0).varies, "from one on"
    assert asked(ask("(i + 1) / n > cut"), before=MADE, over="pairs(timesteps)", cut=1.0).varies


def test_shares_that_are_made_before_the_loop() -> None:
    before = f"{MADE}\nif scale:\n    shares = ((1000 - timesteps) / 1000).tolist()\nelse:\n    shares = None"
    step = ask("go > 0", "go = scale\nif shares is not None:\n    if shares[i] > cut:\n        go = 0.0\n")
    assert asked(step, before=before).varies
    found = asked(step, before=before, cut=1.0)
    assert found == Value(by=frozenset({"cut"})), "the same in all steps, as long as the default is left"


def test_a_branch_that_leaves_the_call_says_nothing_of_the_rest() -> None:
    before = "if x:\n    go = 1\n    raise ValueError\nelse:\n    go = 2"
    assert asked(ask("go == 2"), before=before, cut=None).known == (True,)
    assert asked(ask("go == 2"), before=before.replace("raise ValueError", "pass"), cut=None).known == ()


def test_what_is_not_reached_is_not_known() -> None:
    step = "if cut is not None:\n    if x:\n        ask()"
    assert asked(step, cut=None).varies and not asked(step, cut=0.5).varies


def test_numbers_and_times_are_those_of_a_counted_loop() -> None:
    """Pairs that a loop runs over are no number and time."""
    share = ask("1 - t > cut")
    assert asked(share, over="enumerate(self.progress_bar(timesteps))", cut=1.0).known == (False,)
    assert asked(share, over="enumerate(enumerate(timesteps))", cut=1.0).varies
    text = "def __call__(self, cut):\n    for i, t in timesteps:\n        if 1 - t > cut:\n            ask()\n"
    entry = cst.parse_statement(text)
    assert isinstance(entry, cst.FunctionDef)
    (loop,), (test,) = of_kind(entry, cst.For), of_kind(entry, cst.If)
    assert StepValues(entry, loop, slice_of(entry, loop, [test.test]), {"cut": 1.0}).test(test).varies


def test_what_is_the_same_on_both_ways_rests_on_what_each_rests_on() -> None:
    step = ask("go == 1", "if scale:\n    go = 1\nelse:\n    go = cut\n")
    assert asked(step, cut=1) == Value(known=(True,), by=frozenset({"cut"}))
    assert asked(ask("go == 1", "if scale:\n    go = cut\nelse:\n    go = 1\n"), cut=1).by == {"cut"}
    assert asked(ask("len(seen) > 2"), before="seen = []\nseen.append(cut)", cut=1).by == {"cut"}
