"""The time of a step stays a tensor: no number on the host in between, and the same values of the same type."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from omniport.rewrite.pipeline.step_times import with_times_kept
from omniport.source.syntax import code
from tests.pipeline.helpers import function

FORWARD = """
def forward(self, req):
    timesteps, n = retrieve_timesteps(self.scheduler, n)
    x = self.diffuse(timesteps=timesteps, x=x)
    return x
"""
LOOP = "for i, t in enumerate(self.progress_bar(timesteps)):"


def run(line: str, loop: str = LOOP, forward: str = FORWARD) -> str:
    body = textwrap.indent(f"{loop}\n{textwrap.indent(line, '    ')}", "    ")
    entry, diffuse = function(forward), function(f"def diffuse(self, timesteps, x, n):\n{body}\n    return x\n")
    new = with_times_kept([diffuse, entry])
    assert new[1] is entry
    lines = code(new[0]).strip().splitlines()[2:-1]
    return textwrap.dedent("\n".join(lines))


ASKED = (
    "s = t\nif not torch.is_tensor(s):\n    s = torch.tensor([s])\nelif len(s.shape) == 0:\n    s = s[None].to(d)\ng(s)"
)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("s = torch.full((n,), t.item(), device=d, dtype=k)", "s = t.to(device=d, dtype=k).expand(n)"),
        ("s = torch.tensor([t] * n, device=d).to(dtype=k)", "s = t.to(device=d, dtype=k).expand(n)"),
        ("u = timesteps[i + 1]\nx = self.scheduler.scale_noise(x, torch.tensor([u]), n)",
         "u = timesteps[i + 1]\nx = self.scheduler.scale_noise(x, u[None], n)"),
        ("x = self.scheduler.add_noise(x, n, torch.tensor([t]))", "x = self.scheduler.add_noise(x, n, t[None])"),
        (ASKED, "s = t[None].to(d)\ng(s)"),
        ("s = torch.tensor([t / 1000]).expand(n)\ns = s.to(x.device, dtype=x.dtype)",
         "s = (t / 1000).expand(n)\ns = s.to(x.device, dtype=x.dtype)"),
        ("s = torch.tensor([t]).expand(n)\ns = s.to(device=d)", "s = (t).expand(n)\ns = s.to(device=d)"),
    ],
)  # fmt: skip
def test_the_time_is_not_made_a_number(line: str, after: str) -> None:
    assert run(line) == after


@pytest.mark.parametrize(
    ("loop", "forward"),
    [
        ("for t in self.scheduler.timesteps:", "def forward(self, req):\n    pass\n"),
        ("for t in timesteps:", FORWARD.replace("timesteps, n = retrieve_timesteps(self.scheduler, n)",
                                                "timesteps = self.scheduler.timesteps")),
        ("for t in timesteps:", FORWARD.replace("    timesteps, n = retrieve_timesteps(self.scheduler, n)\n",
         "    if n:\n        timesteps, n = retrieve_timesteps(n)\n    else:\n"
         "        timesteps = self.scheduler.timesteps\n")),
        ("for t in timesteps:", FORWARD.replace("    timesteps,", "    timesteps = params.timesteps\n    timesteps,")),
    ],
)  # fmt: skip
def test_times_of_the_scheduler_are_tensors(loop: str, forward: str) -> None:
    assert run(ASKED, loop, forward) == "s = t[None].to(d)\ng(s)"


@pytest.mark.parametrize(
    ("line", "loop", "forward"),
    [
        (ASKED, "for t in other:", FORWARD),
        (ASKED, "for t, i in enumerate(timesteps):", FORWARD),
        (ASKED, LOOP, FORWARD.replace("retrieve_timesteps", "other")),
        (ASKED, LOOP, FORWARD.replace("    x =", "    timesteps = timesteps.tolist()\n    x =")),
        (ASKED, LOOP, FORWARD.replace("    x =", "    if n:\n        timesteps = [1]\n    x =")),
        (f"t = 3\n{ASKED}", LOOP, FORWARD),
        (ASKED.replace("s = t", "s = r"), LOOP, FORWARD),
        (ASKED.replace("== 0", "== 1"), LOOP, FORWARD),
        ("timesteps = [1]\n" + ASKED, LOOP, FORWARD),
        ("s = torch.full((n,), t.item(), device=d)", LOOP, FORWARD),  # the type of a number
        ("s = torch.full((n, n), t.item(), device=d, dtype=k)", LOOP, FORWARD),
        ("s = torch.full((n,), x.item(), device=d, dtype=k)", LOOP, FORWARD),
        ("s = torch.tensor([t], device=d)", LOOP, FORWARD),
        ("s = torch.tensor([t, t] * n, device=d).to(dtype=k)", LOOP, FORWARD),
        ("s = torch.tensor([t] * n).to(dtype=k)", LOOP, FORWARD),  # stays on the host
        ("x = self.other(x, torch.tensor([t]), n)", LOOP, FORWARD),
        ("u = timesteps[i:]\nx = self.scheduler.scale_noise(x, torch.tensor([u]), n)", LOOP, FORWARD),
        ("u = n[i]\nx = self.scheduler.scale_noise(x, torch.tensor([u]), n)", LOOP, FORWARD),
        ("s = int(t)", LOOP, FORWARD),
        (
            ASKED,
            LOOP,
            FORWARD.replace("    timesteps, n", "    if n:\n        timesteps, n").replace(
                "    x =", "    else:\n        timesteps = [1]\n    x ="
            ),
        ),
        ("s = torch.tensor([t / 1000]).expand(n)\ns = s.to(x.dtype)", LOOP, FORWARD),  # stays on the host
        ("s = torch.tensor([t / 1000]).expand(n)\nr = s.to(x.device)", LOOP, FORWARD),
        ("s = torch.tensor([t / x]).expand(n)\ns = s.to(x.device)", LOOP, FORWARD),
        ("s = torch.tensor([t, 1]).expand(n)\ns = s.to(x.device)", LOOP, FORWARD),
    ],
)
def test_other_forms_stay(line: str, loop: str, forward: str) -> None:
    assert run(line, loop, forward) == line


def test_without_a_loop_of_its_own_nothing_changes() -> None:
    one = function("def other(self, t):\n    return torch.tensor([t] * n, device=d).to(dtype=k)\n")
    assert with_times_kept([one]) == [one]


@pytest.mark.verify
@pytest.mark.parametrize("kind", ["float32", "int64"])
@pytest.mark.parametrize("to", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "line",
    ["s = torch.full((n,), t.item(), device=d, dtype=k)", "s = torch.tensor([t] * n, device=d).to(dtype=k)"],
)
def test_the_numbers_are_equal_bit_by_bit(line: str, kind: str, to: str) -> None:
    """And not those of a type that the rule does not write, so that this can fail."""
    torch = pytest.importorskip("torch")
    values = torch.tensor([999.0, 17.3, 0.1]).to(getattr(torch, kind))
    seen: list[Any] = []
    for text in (line, run(line), run(line).replace("dtype=k", "dtype=torch.float16")):
        for t in values:
            names = {"torch": torch, "t": t, "n": 3, "d": "cpu", "k": getattr(torch, to)}
            exec(text, names)
            seen.append(names["s"])
    for old, new, broken in zip(seen[:3], seen[3:6], seen[6:], strict=True):
        assert old.dtype == new.dtype and torch.equal(old, new)
        assert old.dtype != broken.dtype
