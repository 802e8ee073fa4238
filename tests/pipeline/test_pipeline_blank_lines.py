"""Blank lines that say nothing go; those between steps, in literals and around functions stay."""

from __future__ import annotations

import ast

import pytest

from omniport.rewrite.pipeline.blank_lines import without_idle_blanks

SOURCE = '''
class Pipe:
    """A pipeline.

    Of two lines.
    """

    kept = 1

    def check(self, prompt, height=None):

        if height:
            x = 1

        else:

            x = 2

        return x

    def encode(
        self,
        prompt: str,
    ) -> str:
        r"""
        Encodes.

        else:

        Args:
            prompt: text
        """

        if prompt is None:
            prompt = ""

        # a step
        try:
            y = f(prompt)

        except ValueError:
            y = None

        return y

    def short(self):
        """One line."""

        return 1
'''
EXPECTED = '''
class Pipe:
    """A pipeline.

    Of two lines.
    """

    kept = 1

    def check(self, prompt, height=None):
        if height:
            x = 1
        else:

            x = 2

        return x

    def encode(
        self,
        prompt: str,
    ) -> str:
        r"""
        Encodes.

        else:

        Args:
            prompt: text
        """
        if prompt is None:
            prompt = ""

        # a step
        try:
            y = f(prompt)
        except ValueError:
            y = None

        return y

    def short(self):
        """One line."""
        return 1
'''


def test_idle_blank_lines_go() -> None:
    assert without_idle_blanks(SOURCE) == EXPECTED
    assert ast.dump(ast.parse(SOURCE)) == ast.dump(ast.parse(EXPECTED))


def test_what_is_clean_stays() -> None:
    assert without_idle_blanks(EXPECTED) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        'def f():\n    """Doc."""\n\n    def g():\n        return 1\n\n    return g\n',
        'def f():\n    """Doc."""\n\n    @cache\n    def g():\n        return 1\n\n    return g\n',
        'def f():\n    x = """\n\n    else:\n\n"""\n\n    return x\n',
        'def f():\n    g("""a""")\n\n    return 1\n',
        'class A:\n    """Doc."""\n\n    x = 1\n',
        "def f(x):\n    y = {\n        1: 2,\n    }\n\n    return y\n",
        "X = 1\n\n\ndef f():\n    return 1\n\n\ndef g():\n    return 2\n",
    ],
)
def test_other_blank_lines_stay(text: str) -> None:
    assert without_idle_blanks(text) == text


def test_a_head_may_end_behind_its_last_parameter() -> None:
    text = "def f(\n    x=None,\n    y: dict[str, int] = {}) -> int:\n\n    return x\n"
    assert without_idle_blanks(text) == text.replace("int:\n\n", "int:\n")


def test_a_default_on_several_lines_ends_no_head() -> None:
    text = "def f(\n    x=g(\n        1,\n    ),\n    y: dict = {},\n):\n\n    return x\n"
    assert without_idle_blanks(text) == text.replace("):\n\n    return", "):\n    return")
