"""A comment between a decorator and its method goes above the decorator, where comments about a method stand."""

from __future__ import annotations

import libcst as cst


def comments_first(node: cst.ClassDef) -> cst.ClassDef:
    """The class with such comments above; the same object if there is none."""
    methods = [item for item in node.body.body if isinstance(item, cst.FunctionDef)]
    if not any(line.comment for method in methods for line in method.lines_after_decorators):
        return node
    body = [_above(item) if isinstance(item, cst.FunctionDef) else item for item in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=body))


def _above(method: cst.FunctionDef) -> cst.FunctionDef:
    comments = [line for line in method.lines_after_decorators if line.comment]
    return method.with_changes(leading_lines=[*method.leading_lines, *comments], lines_after_decorators=[])
