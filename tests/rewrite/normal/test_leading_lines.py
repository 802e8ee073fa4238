from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.normal.leading_lines import tidy_leading_lines
from tests.rewrite.normal.helpers import Classes, check_noop, check_transformed


def rewrite(found: Classes) -> Classes:
    for name, node in found.items():
        members = [tidy_leading_lines(m) if isinstance(m, cst.FunctionDef) else m for m in node.body.body]
        found[name] = node.with_changes(body=node.body.with_changes(body=members))
    return found


def test_blank_lines_at_the_start_of_a_body_go() -> None:
    check_transformed(
        rewrite,
        "class A:\n    def f(self, x):\n\n\n        if x:\n            x = 1\n\n        return x\n",
        "class A:\n    def f(self, x):\n        if x:\n            x = 1\n\n        return x\n",
    )


def test_a_comment_about_a_processor_goes() -> None:
    check_transformed(
        rewrite,
        "class A:\n    def f(self, x):\n        y = x\n\n        # for `AddedProcessor` only\n        return y\n",
        "class A:\n    def f(self, x):\n        y = x\n\n        return y\n",
    )


@pytest.mark.parametrize(
    "comment",
    [
        "# Reshape. Each rank holds\n        # `attn.heads // tp` heads: the processor knows",
        "# the output of sdp = (batch, heads, length, width)",
        "# TODO: add support\n        #       for more\n        # HACK: and this",
    ],
)
def test_a_paragraph_about_the_reference_goes(comment: str) -> None:
    check_transformed(
        rewrite,
        f"class A:\n    def f(self, x):\n        y = x\n\n        {comment}\n        return y\n",
        "class A:\n    def f(self, x):\n        y = x\n\n        return y\n",
    )


def test_what_stands_before_a_task_stays() -> None:
    check_transformed(
        rewrite,
        "class A:\n    def f(self, x):\n        y = x\n        # why\n        # TODO: how\n        return y\n",
        "class A:\n    def f(self, x):\n        y = x\n        # why\n        return y\n",
    )


@pytest.mark.parametrize("other", ["else", "elif y"])
def test_no_blank_line_before_another_way(other: str) -> None:
    check_transformed(
        rewrite,
        f"class A:\n    def f(self, x):\n        if x:\n            y = 1\n\n        {other}:\n            y = 2\n",
        f"class A:\n    def f(self, x):\n        if x:\n            y = 1\n        {other}:\n            y = 2\n",
    )


def test_other_lines_stay() -> None:
    check_noop(
        rewrite,
        "class A:\n    def f(self, x):\n        # processed (todo lists are no tasks)\n\n        y = x\n\n"
        "        # why\n        if y:\n            # here\n            y = 2  # SomeProcessor\n        return y\n",
    )


def test_a_docstring_keeps_its_distance() -> None:
    check_noop(rewrite, 'class A:\n    def f(self, x):\n        """Says so."""\n\n        return x\n')


def test_marks_of_copies_and_hooks_of_other_libraries_go() -> None:
    for comment in ("# Copied from package.module.Class.method", "# with accelerate this\n        # is elsewhere"):
        check_transformed(
            rewrite,
            f"class A:\n    def f(self, x):\n        y = x\n        {comment}\n        return y\n",
            "class A:\n    def f(self, x):\n        y = x\n        return y\n",
        )
    check_noop(
        rewrite, "class A:\n    def f(self, x):\n        y = x\n        # copied to all ranks\n        return y\n"
    )
