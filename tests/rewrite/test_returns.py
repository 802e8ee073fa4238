"""A value that is named only to be returned."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.returns import return_values


def run(body: str) -> str:
    return return_values(cst.parse_module(f"def f(x):\n{body}")).code.removeprefix("def f(x):\n")


def test_the_value_is_returned() -> None:
    assert run("    x = x + 1\n\n    return x\n") == "    return x + 1\n"


def test_what_stands_before_the_value_stays() -> None:
    assert (
        run("    y = x\n\n    # one more\n    x = y + 1\n    return x\n")
        == "    y = x\n\n    # one more\n    return y + 1\n"
    )


def test_in_a_branch() -> None:
    assert (
        run("    if x:\n        y = g(x)\n        return y\n    return x\n")
        == "    if x:\n        return g(x)\n    return x\n"
    )


@pytest.mark.parametrize(
    "body",
    [
        "    y = x + 1\n    return x\n",
        "    x = x + 1\n    return x, x\n",
        "    x = x + 1\n    return\n",
        "    x = x + 1\n    # what this is\n    return x\n",
        "    x = x + 1  # what this is\n    return x\n",
        "    x = x + 1\n    return x  # what this is\n",
        "    x += 1\n    return x\n",
        "    x, y = g(x)\n    return x\n",
        "    x = y = g(x)\n    return x\n",
        "    x.y = g(x)\n    return x\n",
        "    x = g(\n        x\n    )\n    return x\n",
        "    x = x + 1\n    y = x\n    g(y)\n    return x\n",
        "    global y\n    y = x + 1\n    return y\n",
        "    y = " + "x" * 110 + "\n    return y\n",  # too long with the longer word
        "    return x\n",
    ],
)
def test_nothing_to_join(body: str) -> None:
    assert run(body) == body
