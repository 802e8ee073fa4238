"""Questions about the time of a step are answered ahead of the loop: the same answers, found by the step's index."""

from __future__ import annotations

import textwrap

import pytest
import torch

from omniport.rewrite.pipeline.host_comparisons import with_times_compared_once
from omniport.source.syntax import code
from tests.pipeline.helpers import function

FORWARD = """
def forward(self, req):
    timesteps, n = retrieve_timesteps(self.scheduler, n)
    x = self.diffuse(timesteps=timesteps, x=x)
    return x
"""
LOOP = "for k, t in enumerate(self.progress_bar(timesteps)):"
BARE = "for t in self.progress_bar(timesteps):"
WAN = "if boundary_timestep is None or t >= boundary_timestep:\n    x = f(x)\nelse:\n    x = g(x)"


def run(lines: str, loop: str = LOOP, forward: str = FORWARD, more: str = "") -> str:
    body = textwrap.indent(f"{loop}\n{textwrap.indent(lines, '    ')}{more}", "    ")
    given = f"def diffuse(self, timesteps, x, low, boundary_timestep):\n{body}\n    return x\n"
    entry, diffuse = function(forward), function(given)
    new = with_times_compared_once([diffuse, entry])
    assert new[1] is entry
    return textwrap.dedent("\n".join(code(new[0]).strip().splitlines()[1:-1]))


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("if t >= low:\n    x = f(x)", "above_low = [] if low is None else (timesteps >= low).tolist()",
         "if above_low[k]:\n    x = f(x)"),
        ("x = f(x) if not t < low else x", "below_low = [] if low is None else (timesteps < low).tolist()",
         "x = f(x) if not below_low[k] else x"),
        (WAN, "above_boundary = [] if boundary_timestep is None else (timesteps >= boundary_timestep).tolist()",
         WAN.replace("t >= boundary_timestep", "above_boundary[k]")),
    ],
)  # fmt: skip
def test_a_question_about_the_step_is_answered_ahead_of_the_loop(line: str, before: str, after: str) -> None:
    comment = "# On the host once: a read in each step would wait for the device."
    assert run(line) == f"{comment}\n{before}\n{LOOP}\n{textwrap.indent(after, '    ')}"


def test_a_loop_that_does_not_count_its_steps_counts_them() -> None:
    text = run("if t > low:\n    x = f(x)", BARE)
    assert text.splitlines()[2:4] == ["for i, t in enumerate(self.progress_bar(timesteps)):", "    if above_low[i]:"]
    taken = "if t > low:\n    x = f(i, step, index)"
    assert run(taken, BARE) == f"{BARE}\n{textwrap.indent(taken, '    ')}"


@pytest.mark.parametrize("boundary", [None, 400.0, 0.57 * 1000, 999])
def test_the_answers_are_those_of_the_reference(boundary: float | None) -> None:
    line = "if boundary_timestep is None or t >= boundary_timestep:\n    x.append(1)\nelse:\n    x.append(0)"
    loop = "for k, t in enumerate(timesteps):"
    rewritten, kept = (f"{text}\n" for text in (run(line, loop), f"{loop}\n{textwrap.indent(line, '    ')}"))
    assert rewritten != kept
    times = torch.tensor([999.0, 570.0, 569.99994, 400.0, 1.0])
    results = []
    for text in (rewritten, kept):
        names = {"timesteps": times, "x": [], "boundary_timestep": boundary}
        exec(text, names)
        results.append(names["x"])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "line",
    [
        "mask = t >= low",  # a tensor is wanted
        "if t == low:\n    x = f(x)",
        "if t >= x:\n    x = f(x)",  # the loop sets it
        "if x.any() >= low:\n    x = f(x)",
        "if f(t >= low):\n    x = f(x)",
        "if 0 < t < low:\n    x = f(x)",
        "t = t / 2\nif t >= low:\n    x = f(x)",
        "above_low = 1\nif t >= low:\n    x = f(x)",
        "timesteps[k] = 0\nif t >= low:\n    x = f(x)",
        "if t >= low:\n    x = f(x)\nif t > low:\n    x = g(x)",  # two questions would have one name
        "k = k + 1\nif t >= low:\n    x = f(x)",
    ],
)
def test_a_question_that_is_another_stays(line: str) -> None:
    assert run(line) == f"{LOOP}\n{textwrap.indent(line, '    ')}"


def test_other_times_than_the_schedulers_stay() -> None:
    line = "if t >= low:\n    x = f(x)"
    other = FORWARD.replace("retrieve_timesteps(self.scheduler, n)", "[1, 2], n")
    assert run(line, forward=other) == f"{LOOP}\n{textwrap.indent(line, '    ')}"


def test_a_question_outside_the_loop_stays() -> None:
    after = "\nif t >= low:\n    x = f(x)"
    assert run("x = f(x)", more=after) == f"{LOOP}\n    x = f(x){after}"
