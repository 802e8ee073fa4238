"""Locals that only stand for another one go, where every read sees the same value either way."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline import aliases
from omniport.rewrite.pipeline.aliases import without_aliases
from omniport.source.syntax import code
from tests.pipeline.helpers import function


def written(source: str) -> str:
    return code(without_aliases(function(source)))


LOOP = """
def f(latents, steps):
    for t in steps:
        # expand the latents if we are doing classifier free guidance
        x = latents
        latents = step(x, key=x.shape, x=t)
    return latents
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            LOOP,
            "def f(latents, steps):\n"
            "    for t in steps:\n"
            "        latents = step(latents, key=latents.shape, x=t)\n"
            "    return latents\n",
        ),
        # A parameter that nothing binds anew: the reads may stand anywhere.
        (
            "def f(a, on):\n    if on:\n        x = a\n    y = on\n    if on:\n        return g(x, y)\n",
            "def f(a, on):\n    if on:\n        return g(a, on)\n",
        ),
        # The same alias twice, the second one inside the lines that the first is good for.
        (
            "def f(a):\n    x = a\n    g(x)\n    if a:\n        x = a\n        h(x)\n    a = k(x)\n    return a\n",
            "def f(a):\n    g(a)\n    if a:\n        h(a)\n    a = k(a)\n    return a\n",
        ),
        # One after the other.
        ("def f(a):\n    x = a\n    y = x\n    return y\n", "def f(a):\n    return a\n"),
        # A comment about the lines behind it, and the heading of a section.
        ("def f(a):\n    # as in the paper\n    x = a\n    g(x)\n", "def f(a):\n    # as in the paper\n    g(a)\n"),
        ("def f(a):\n    x = a\n    return f'{x}'\n", "def f(a):\n    return f'{a}'\n"),
    ],
)
def test_alias_goes(source: str, expected: str) -> None:
    assert written(source).lstrip("\n") == expected


STAYS = [
    "def f(a):\n    x = a\n    a = g(a)\n    return x, a\n",  # read after a is another
    "def f(a):\n    x = a\n    while a:\n        a = g(x)\n    return a\n",  # the second round would read the new one
    "def f(a):\n    x = a\n    if a:\n        x = g(a)\n    return x\n",  # another value, too
    "def f(a):\n    x = a\n    x += 1\n    return a, x\n",
    "def f(a):\n    x = A\n    return x\n",  # a global
    "def f(a):\n    b = g(a)\n    if a:\n        x = b\n    b = g(b)\n    return x\n",
    "def f(a):\n    x = a\n    return [x for a in g()]\n",  # the comprehension has its own a
    "def f(a):\n    x = a\n    h = lambda: x\n    a = 1\n    return h()\n",  # read when it is called
    "def f(a, x):\n    x = a\n    return x\n",  # a parameter, which callers name
    "def f(a):\n    x = None\n    return x\n",
    "def f(a):\n    x, y = a, a\n    return x\n",
    "def f(a):\n    x = a\n    b = (a := 2) + x\n    return b\n",
]


@pytest.mark.parametrize("source", STAYS)
def test_what_may_differ_stays(source: str) -> None:
    node = function(source)
    assert without_aliases(node) is node


def result(text: str) -> object:
    names: dict[str, object] = {"step": lambda v, key, x: (v, key, x)}
    exec(text, names)

    class Latents(tuple[int, ...]):
        shape = (1,)

    return names["f"](Latents(), [1, 2])  # type: ignore[operator]


def test_what_is_written_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    source = LOOP.replace("key=x.shape", "key=1")
    assert result(written(source)) == result(source)
    # A twin that takes every read for one that sees the alias is found out.
    source = source.replace("return latents", "return x")
    node = function(source)
    assert without_aliases(node) is node
    everywhere = aliases._reads
    monkeypatch.setattr(aliases, "_seen", lambda block, alias, name: (n for s in block for n in everywhere(s, alias)))
    assert result(code(without_aliases(node))) != result(source)
