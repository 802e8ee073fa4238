"""Comments about a method stand above its decorators."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.decorated import comments_first

BETWEEN = "class A:\n    x = 1\n\n    @staticmethod\n    # why\n    # so\n    def f(a):\n        return a\n"
ABOVE = "class A:\n    x = 1\n\n    # why\n    # so\n    @staticmethod\n    def f(a):\n        return a\n"


def written(source: str) -> tuple[str, bool]:
    node = cst.ensure_type(cst.parse_module(source).body[0], cst.ClassDef)
    new = comments_first(node)
    return cst.Module([new]).code, new is node


def test_a_comment_behind_the_decorator_goes_above_it() -> None:
    assert written(BETWEEN) == (ABOVE, False)


def test_it_follows_the_comment_that_is_there() -> None:
    source = BETWEEN.replace("\n    @", "\n    # first\n    @")
    assert written(source)[0] == ABOVE.replace("    # why", "    # first\n    # why")


@pytest.mark.parametrize(
    "source",
    [
        ABOVE,
        "class A:\n    @staticmethod\n    def f(a):\n        # why\n        return a\n",
        "class A:\n    # why\n    def f(a):\n        return a\n",
        "class A:\n    @staticmethod\n\n    def f(a):\n        return a\n",
        "class A:\n    x = 1\n",
    ],
)
def test_other_classes_stay(source: str) -> None:
    assert written(source) == (source, True)
