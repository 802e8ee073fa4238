"""Numbers of the steps are read once, ahead of the loop: the same numbers, found by the index of the step."""

from __future__ import annotations

import textwrap

import pytest
import torch

from omniport.rewrite.pipeline.host_times import with_times_read_once
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
SAMPLES = "s = t.expand(x.shape[0])\ns = (1000 - s) / 1000\nnorm = s[0].item()"


def run(line: str, loop: str = LOOP, forward: str = FORWARD) -> str:
    body = textwrap.indent(f"{loop}\n{textwrap.indent(line, '    ')}", "    ")
    entry, diffuse = function(forward), function(f"def diffuse(self, timesteps, x, n):\n{body}\n    return x\n")
    new = with_times_read_once([diffuse, entry])
    assert new[1] is entry
    lines = code(new[0]).strip().splitlines()[1:-1]
    return textwrap.dedent("\n".join(lines))


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("f(t.item())", "times = timesteps.tolist()", "f(times[k])"),
        ("now = float(t)", "nows = timesteps.tolist()", "now = float(nows[k])"),
        ("f(t.item(), t.item())", "times = timesteps.tolist()", "f(times[k], times[k])"),
        ("now = t.item()\nif x:\n    f(float(t))", "nows = timesteps.tolist()",
         "now = nows[k]\nif x:\n    f(float(nows[k]))"),
        ("timestep = t.item()", "times = timesteps.tolist()", "timestep = times[k]"),  # timesteps are the tensor
        (SAMPLES, "norms = ((1000 - timesteps) / 1000).tolist()",
         "s = t.expand(x.shape[0])\ns = (1000 - s) / 1000\nnorm = norms[k]"),
        ("s = t.float() * 2\nf(s.item())",
         "times = (timesteps.float() * 2).tolist()", "s = t.float() * 2\nf(times[k])"),
        ("f(t.item(), (t / 2).item(), x)", "times = timesteps.tolist()", "f(times[k], (t / 2).item(), x)"),
    ],
)  # fmt: skip
def test_a_number_of_the_step_is_read_ahead_of_the_loop(line: str, before: str, after: str) -> None:
    comment = "# On the host once: a read in each step would wait for the device."
    assert run(line) == f"{comment}\n{before}\n{LOOP}\n{textwrap.indent(after, '    ')}"


def test_a_loop_that_does_not_count_its_steps_counts_them() -> None:
    assert run("f(t.item())", BARE).splitlines()[2:] == [
        "for i, t in enumerate(self.progress_bar(timesteps)):",
        "    f(times[i])",
    ]
    assert "for step, t in enumerate(" in run("f(t.item(), [i for i in x])", BARE)
    assert run("f(t.item(), i, step, index)", BARE) == f"{BARE}\n    f(t.item(), i, step, index)"


def test_the_list_is_ahead_of_the_bar() -> None:
    loop = "with self.progress_bar(total=n) as bar:\n    for k, t in enumerate(timesteps):"
    text = run("    f(t.item())", loop)
    assert text.splitlines()[1:] == ["times = timesteps.tolist()", *loop.splitlines(), "        f(times[k])"]


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_the_numbers_are_the_same(kind: torch.dtype) -> None:
    timesteps, x = torch.linspace(999, 1, 37).to(kind), torch.zeros(2, 1)
    scope = {"timesteps": timesteps, "x": x, "self": self_of(), "enumerate": enumerate}
    for line in (SAMPLES, "norm = t.item()", "norm = float(t)", "s = t * 0.3\nnorm = s.item()"):
        found = []
        for text in (f"{LOOP}\n{textwrap.indent(line, '    ')}", run(line)):
            assert ("tolist" in text) is bool(found)
            own: dict[str, object] = {"all": []}
            exec(f"{text}\n    all.append(norm)", {**scope, **own})  # ours, of this file
            found.append(own["all"])
        assert found[0] == found[1]
        assert [type(a) for a in found[0]] == [type(b) for b in found[1]]  # type: ignore[attr-defined]


def self_of() -> object:
    class Bar:
        def progress_bar(self, steps: torch.Tensor) -> torch.Tensor:
            return steps

    return Bar()


@pytest.mark.parametrize(
    ("line", "loop", "forward"),
    [
        ("f(t.item())", "for k, t in enumerate(other):", FORWARD),
        ("f(t.item())", LOOP, FORWARD.replace("retrieve_timesteps", "other")),
        ("f(t.item())", LOOP, FORWARD.replace("    x =", "    if n:\n        timesteps = [1]\n    x =")),
        ("f(x.item())", LOOP, FORWARD),
        ("f(float(n))", LOOP, FORWARD),
        ("t = t + 1\nf(t.item())", LOOP, FORWARD),  # no time of the schedule any more
        ("k = 1\nf(t.item())", LOOP, FORWARD),
        ("timesteps[k] = 0\nf(t.item())", LOOP, FORWARD),
        ("timesteps = x\nf(t.item())", LOOP, FORWARD),
        ("self.scheduler.set_timesteps(n)\nf(t.item())", LOOP, FORWARD),
        ("s = t * x\nf(s.item())", LOOP, FORWARD),
        ("s = t + t\nf(s.item())", LOOP, FORWARD),
        ("s = t // 2\nf(s.item())", LOOP, FORWARD),  # no arithmetic that is known
        ("s = t.to(x)\nf(s.item())", LOOP, FORWARD),
        ("s = t.expand(n)\nf(s.item())", LOOP, FORWARD),  # of one sample only
        ("s = t.expand(n)\nf(s[1].item())", LOOP, FORWARD),
        ("s = t / 2\ns += x\nf(s.item())", LOOP, FORWARD),
        ("s = t / 2\nif n:\n    s = x\n    f(s.item())\nf(s.item())", LOOP, FORWARD),
        ("times = x\nf(t.item())", LOOP, FORWARD),  # no name left
        ("f(lambda t: t.item())", LOOP, FORWARD),
        ("f(t)", LOOP, FORWARD),
        ("f(t.item(0))", LOOP, FORWARD),
        ("f(t.item())", f"for j in x:\n    {LOOP}\n        pass\n    {LOOP}", FORWARD),
    ],
)
def test_other_forms_stay(line: str, loop: str, forward: str) -> None:
    if "\n" in loop:
        line = f"    {line}"
    assert run(line, loop, forward) == f"{loop}\n{textwrap.indent(line, '    ')}"


@pytest.mark.parametrize(
    "other",
    [
        "def forward(self, req):\n    return 1\n",
        "def diffuse(self, timesteps):\n    for t in timesteps:\n        f(t.item())\n",
    ],
)
def test_one_method_alone_stays(other: str) -> None:
    method = function(other)
    assert with_times_read_once([method]) == [method]
