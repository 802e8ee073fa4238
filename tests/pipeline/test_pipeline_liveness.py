"""Liveness: dead stores go, live ones stay; what is live at the entry of a block."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.liveness import drop_dead_stores, live_in, surely_bound
from tests.pipeline.helpers import block, text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\nx = f()\nreturn x\n", "x = f()\nreturn x\n"),
        ("dtype = latents.dtype\nreturn latents\n", "return latents\n"),
        ("n = max(len(ts) - 1, 0)\nreturn ts\n", "return ts\n"),
        ("for t in ts:\n    d = x.dtype\n    x = step(x)\nreturn x\n", "for t in ts:\n    x = step(x)\nreturn x\n"),
        ("# heading\nd = 1\nx = f()\nreturn x\n", "# heading\nx = f()\nreturn x\n"),
    ],
)
def test_dead_stores_go(source: str, expected: str) -> None:
    assert text(drop_dead_stores(block(source))) == expected


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\nreturn x\n",
        "x = 1\nif a:\n    x = 2\nreturn x\n",
        "x = 0\nfor t in ts:\n    x = x + t\nreturn x\n",
        "x = 0\nfor t in ts:\n    use(x)\n    x = 1\n",
        "x = 1\nreturn lambda: x\n",
        "x = 1\nreturn [x for _ in y]\n",
        "x = 1\ntry:\n    y = f()\nexcept ValueError:\n    y = x\nreturn y\n",
        "self.x = 1\n",
        "a, b = 1, 2\nreturn b\n",
        "x = 1\nx += 2\nreturn x\n",
        "x = 1\nreturn f'{x}'\n",
        "x = 1\nwhile a:\n    if b:\n        break\n    x = 2\nreturn x\n",
    ],
)
def test_live_stores_stay(source: str) -> None:
    assert text(drop_dead_stores(block(source))) == source


@pytest.mark.parametrize(
    ("source", "live"),
    [
        ("y = x + 1\nz = y\n", {"x"}),
        ("for t in ts:\n    a = b\n    c = a\n", {"ts", "b"}),
        ("for t in ts:\n    use(a)\n    a = 1\n", {"ts", "a", "use"}),
        ("if c:\n    a = 1\nuse(a)\n", {"c", "a", "use"}),
        ("[x for x in xs]\n", {"xs"}),
        ("f(key=value)\n", {"f", "value"}),
        ("o.attr = v\n", {"o", "v"}),
    ],
)
def test_live_at_entry(source: str, live: set[str]) -> None:
    assert live_in(block(source)) == live


def test_surely_bound_needs_every_path() -> None:
    assert surely_bound(block("a = 1\nif c:\n    b = 1\n")) == {"a"}
    assert surely_bound(block("if c:\n    b = 1\nelse:\n    b = 2\n")) == {"b"}
    assert surely_bound(block("if c:\n    b = 1\nelse:\n    raise ValueError\n")) == {"b"}
    assert surely_bound(block("for t in ts:\n    b = 1\n")) == set()


def test_a_call_whose_result_nothing_reads_keeps_its_effect() -> None:
    assert text(drop_dead_stores(block("x = f()\n"))) == "f()\n"
