"""Which statements the conditions of a loop depend on."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.step_slice import Slice, slice_of
from omniport.rewrite.pipeline.blocks import statements, suite
from omniport.source.syntax import code
from omniport.source.walk import of_kind

BODY = """\
go = scale > 1
image = self.encode(prompt)
if prompt is None:
    go = False
    image = None
elif scale is None:
    other = 3
else:
    limit = cut
shares[0] = limit
for i, t in enumerate(timesteps):
    latents = self.prepare(latents, image)
    if go and shares[i] > count:
        p = self.transformer(latents)
    count = count + 1
    latents = self.step(p, latents)
decoded = self.decode(latents)
"""


def sliced(body: str, *asked: str) -> tuple[Slice, list[str]]:
    """The slice of the conditions that are ``asked``, and the first lines of what it keeps."""
    text = "def __call__(self, prompt, scale, cut, latents):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    entry = cst.parse_statement(text)
    assert isinstance(entry, cst.FunctionDef)
    (loop,) = of_kind(entry, cst.For)
    tests = [n.test for n in of_kind(entry, cst.If) if code(n.test) in asked]
    assert len(tests) == len(asked)
    found = slice_of(entry, loop, tests)
    nodes = [*statements(suite(entry.body)), *(n for n in of_kind(entry, cst.If) if id(n) in found.kept)]
    return found, list(dict.fromkeys(code(n).strip().splitlines()[0] for n in nodes if id(n) in found.kept))


def test_only_what_a_condition_depends_on_is_kept() -> None:
    found, lines = sliced(BODY, "go and shares[i] > count")
    for line in ("go = scale > 1", "go = False", "limit = cut", "shares[0] = limit", "count = count + 1"):
        assert line in lines
    assert "if prompt is None:" in lines and "for i, t in enumerate(timesteps):" in lines
    for line in ("image = None", "other = 3", "decoded = self.decode(latents)"):
        assert line not in lines
    assert not any(line.startswith(("latents =", "p =")) for line in lines)
    assert found.carried == {"count"}, "latents are carried, too, but no condition reads them"


def test_the_conditions_themselves_and_the_loop_are_kept() -> None:
    found, lines = sliced("for t in timesteps:\n    if scale:\n        p = self.transformer(t)", "scale")
    assert lines == ["for t in timesteps:", "if scale:"] and found.carried == frozenset()


def test_a_name_that_a_condition_of_a_condition_reads_is_kept() -> None:
    body = "far = cut\nif far:\n    near = 1\nfor t in timesteps:\n    if near:\n        p = self.transformer(t)"
    assert "far = cut" in sliced(body, "near")[1]


def test_the_second_way_of_a_condition_is_looked_into() -> None:
    body = (
        "if cut:\n    pass\nelif prompt:\n    near = 1\nfor t in timesteps:\n    if near:\n        self.transformer(t)"
    )
    assert {"near = 1", "if cut:", "if prompt:"} <= set(sliced(body, "near")[1])
