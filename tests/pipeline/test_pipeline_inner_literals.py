"""Long strings in lists and defaults: cut, with the value that they had; nothing else is touched."""

from __future__ import annotations

import ast

import pytest

from omniport.rewrite.pipeline.inner_literals import with_literals_cut

LONG = "word " * 40
LINES = "a" * 50 + "\\n" + "b" * 50 + "\\n" + "c" * 50


@pytest.mark.parametrize(
    "line",
    [
        f'x = ["{LONG}", "short", "{LONG}"]',
        f'x = f(1, ["{LONG}"])',
        f'def f(a: str = "{LONG}", b=2):\n    pass',
        f'x = {{"a": "{LONG}"}}',
        f"x = ('é', '{LONG}')",
        f'x = ["{LINES}"]',
        f'x = ["{LONG}", "\\" \\\\"]',
    ],
)
def test_a_long_string_is_cut_and_keeps_its_value(line: str) -> None:
    new = with_literals_cut(line)
    assert new != line
    assert ast.dump(ast.parse(new)) == ast.dump(ast.parse(line))
    literals = [part for part in new.split('"' if '"' in line else "'") if len(part) > 100]
    assert not literals


@pytest.mark.parametrize(
    "line",
    [
        'x = ["short"]',
        f'x = "{LONG}"',  # the rule for whole values
        f'f("{LONG}")',
        f'x = [\n    "{LONG}",\n]',
        f'x = [r"{LONG}"]',
        f'x = [f"{LONG}{{y}}"]',
        f'x = ["{LONG}" "more"]',
        f'x = ["""{LONG}"""]',
        f'x = ["{"a" * 200}"]',
        f'x = ["{LONG}\\\n{LONG}"]',
        f"y = 1  # {LONG}",
        f'"""{LONG}"""',
    ],
)
def test_other_lines_stay(line: str) -> None:
    assert with_literals_cut(line) == line
