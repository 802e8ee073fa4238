"""Strings of others never become markup or code."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from jinja2.exceptions import SecurityError

from omniport.emit.render import comment, environment, markdown, python, render, toml

tomllib = pytest.importorskip("tomllib")

HOSTILE = [
    "a|b",
    "`x`",
    "<script>",
    "a\nb",
    "[a](b)",
    "# a",
    '"""',
    "\\",
    "{{ 7 }}",
    "\u202eabc",
    "\x7f",
    "a\u2028b",
    "'",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown(text: str):
    escaped = markdown(text)
    assert "\n" not in escaped and "<" not in escaped and "\u202e" not in escaped
    for mark in "|`[]#*_":
        assert escaped.count(mark) == escaped.count(f"\\{mark}")


@given(st.text(st.characters(codec="utf-8")))
def test_python_toml_and_comment(text: str):
    assert ast.literal_eval(python(text)) == text
    assert python(text).isascii()
    value = tomllib.loads(f"x = {toml(text)}\n")["x"]
    assert value == comment(text)
    assert len(f"# {comment(text)}".splitlines()) == 1
    compile(f"# {comment(text)}\n", "x", "exec")


def test_an_unknown_name_is_an_error_and_the_sandbox_holds():
    with pytest.raises(UndefinedError):
        render("module.py.j2", header="x")
    with pytest.raises(SecurityError):
        environment().from_string("{{ x.__class__.__mro__[1].__subclasses__() }}").render(x=1)


def test_values_are_not_templates():
    assert "{{ 7 * 7 }}" in render("module.py.j2", header="# {{ 7 * 7 }}", code="")
