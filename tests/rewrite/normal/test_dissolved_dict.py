"""Dicts of attention arguments that a forward makes: a variable for each entry, and what is refused."""

from __future__ import annotations

from textwrap import dedent

import libcst as cst
import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.normal.dissolved_dict import Spread, dissolve_dicts


def params(text: str) -> dict[str, cst.Param]:
    node = cst.parse_module(f"def f({text}): ...").body[0]
    assert isinstance(node, cst.FunctionDef)
    return {param.name.value: param for param in node.params.params}


CACHE = params("cache: Cache | None = None, mode: str | None = None, number: int = 0")
MORE = CACHE | params("start: int = 0")
TAKEN = {"blocks": CACHE, "singles": MORE}


def dissolve(body: str, taken: dict[str, dict[str, cst.Param]] = TAKEN) -> tuple[str, Spread]:
    lines = "".join(f"        {line}\n" for line in dedent(body).strip("\n").split("\n"))
    node = cst.parse_module(
        f"class A(nn.Module):\n    def forward(self, x, given=None, cache=None, mode=None):\n{lines}"
    )
    cls = node.body[0]
    assert isinstance(cls, cst.ClassDef)
    new, spread = dissolve_dicts(cls, taken, {"given"})
    text = cst.Module([new]).code
    return dedent("\n".join(text.split("\n")[2:])), spread


MADE = """
if mode == "fill":
    kwargs = {**(given or {}), "cache": None, "mode": "fill", "number": 4}
else:
    kwargs = given
for i, block in enumerate(self.blocks):
    if cache is not None:
        kwargs["cache"] = cache[i]
    x = block(x, attention_kwargs=kwargs)
more = {**kwargs, "start": 3}
for block in self.singles:
    x = checkpoint(block, x, more)
    x = block(x, attention_kwargs=more)
"""

APART = """
if mode == "fill":
    kwargs_cache = None
    kwargs_mode = "fill"
    kwargs_number = 4
else:
    kwargs_cache = None
    kwargs_mode = None
    kwargs_number = 0
for i, block in enumerate(self.blocks):
    if cache is not None:
        kwargs_cache = cache[i]
    x = block(x, cache=kwargs_cache, mode=kwargs_mode, number=kwargs_number)
more_cache = kwargs_cache
more_mode = kwargs_mode
more_number = kwargs_number
more_start = 3
for block in self.singles:
    x = checkpoint(block, x, more_cache, more_mode, more_number, more_start)
    x = block(x, cache=more_cache, mode=more_mode, number=more_number, start=more_start)
"""


def test_each_entry_is_a_variable_and_a_parameter() -> None:
    text, spread = dissolve(MADE)
    assert text.strip() == APART.strip()
    found = {name: (table[0][0], [p.name.value for p in table[0][1]]) for name, table in spread.items()}
    assert found == {
        "blocks": ("attention_kwargs", ["cache", "mode", "number"]),
        "singles": ("attention_kwargs", ["cache", "mode", "number", "start"]),
    }


@pytest.mark.parametrize(
    "body",
    [
        "for block in self.blocks:\n    x = block(x, attention_kwargs=given)",  # the caller's
        "for block in self.others:\n    kwargs = {'cache': None}\n    x = block(x, attention_kwargs=kwargs)",
        "kwargs = {'cache': None}\nreturn self.run(x, kwargs)",
        "kwargs = make(x)\nfor block in self.blocks:\n    x = block(x, attention_kwargs=kwargs)",
        "for block in self.blocks:\n    x = block(x)",
    ],
)
def test_left_alone(body: str) -> None:
    text, spread = dissolve(body)
    assert text.strip() == body and not spread


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"number": 4', '"unknown": 4'),  # which the attention does not take
        ('"number": 4', "name: 4"),
        ("kwargs = given", "kwargs = make(given)"),
        ("kwargs = given", "kwargs = dict(kwargs)"),
        ('more = {**kwargs, "start": 3}', "more = kwargs\nmore['start'] = 3\nprint(kwargs['cache'])"),
        ("if cache is not None", "if kwargs is not None"),
        ('kwargs["cache"] = cache[i]', "kwargs[i] = cache[i]"),
    ],
)
def test_refused(old: str, new: str) -> None:
    assert old in MADE
    with pytest.raises(UnsupportedError, match="in a way that no rule knows"):
        dissolve(MADE.replace(old, new))


def test_entries_that_two_dicts_share_are_refused() -> None:
    shared = MADE.replace('more = {**kwargs, "start": 3}', "more = kwargs\nmore['start'] = 3\nkwargs['mode'] = mode")
    with pytest.raises(UnsupportedError, match="in a way that no rule knows"):
        dissolve(shared)
    with pytest.raises(UnsupportedError, match="several defaults"):
        dissolve(MADE, {"blocks": CACHE, "singles": MORE | params("number: int = 1")})
