"""Small edits of a module that every step makes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import libcst as cst

from omniport.rewrite.syntax import code, dotted, expression, statements


def with_imports(module: cst.Module, lines: Sequence[str]) -> cst.Module:
    """``module`` with import statements before its first one; ruff sorts them and drops those that are unused."""
    body = list(module.body)
    at = next((i for i, s in enumerate(body) if _is_import(s)), 0)
    first = body[at]
    new = statements("".join(f"{line}\n" for line in lines))
    new[0] = new[0].with_changes(leading_lines=first.leading_lines)
    body[at:at] = new  # type: ignore[assignment]
    body[at + len(new)] = first.with_changes(leading_lines=[])
    return module.with_changes(body=body)


def _is_import(statement: cst.BaseStatement) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Import | cst.ImportFrom)


def with_function(module: cst.Module, text: str) -> cst.Module:
    """``module`` with a function before its first definition."""
    body = list(module.body)
    at = next(i for i, s in enumerate(body) if isinstance(s, cst.ClassDef | cst.FunctionDef))
    body[at:at] = statements(text.strip() + "\n")  # type: ignore[assignment]
    return module.with_changes(body=body)


class Replace(cst.CSTTransformer):
    """Replaces expressions by their source text; ``done`` counts them.

    ``texts`` maps the whole text of an expression to the new one, ``calls`` the function of a call to what makes its
    text from the texts of the arguments.
    """

    def __init__(self, texts: dict[str, str], calls: dict[str, Callable[[dict[str, str]], str]] | None = None) -> None:
        self.texts = texts
        self.calls = calls or {}
        self.done = 0

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return self._text(original_node, updated_node)

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        return self._text(original_node, updated_node)

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        return self._text(original_node, updated_node)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        made = self.calls.get(dotted(original_node.func))
        if made is None:
            return self._text(original_node, updated_node)
        self.done += 1
        given = {
            arg.keyword.value if arg.keyword is not None else str(number): code(arg.value)
            for number, arg in enumerate(updated_node.args)
        }
        return expression(made(given))

    def _text(self, original: cst.BaseExpression, updated: cst.BaseExpression) -> cst.BaseExpression:
        new = self.texts.get(code(original))
        if new is None:
            return updated
        self.done += 1
        return expression(new)


class WithoutAssignments(cst.CSTTransformer):
    """Removes lines that assign one of ``names``, at any level, and class attributes of these names."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        small = original_node.body[0]
        target: cst.BaseExpression | None = None
        if isinstance(small, cst.Assign):
            target = small.targets[0].target
        elif isinstance(small, cst.AnnAssign):
            target = small.target
        gone = isinstance(target, cst.Name) and target.value in self.names
        return cst.RemoveFromParent() if gone else updated_node


def removed(module: cst.Module, names: Collection[str]) -> cst.Module:
    """``module`` without the assignments of ``names``."""
    return module.visit(WithoutAssignments(names))


def the_class(module: cst.Module) -> cst.ClassDef:
    """The last class of a pipeline's module, which is the pipeline."""
    return [s for s in module.body if isinstance(s, cst.ClassDef)][-1]


def with_class(module: cst.Module, old: cst.ClassDef, new: cst.ClassDef) -> cst.Module:
    return module.with_changes(body=[new if s is old else s for s in module.body])


def methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    return {s.name.value: s for s in node.body.body if isinstance(s, cst.FunctionDef)}


def with_method(node: cst.ClassDef, name: str, text: str | None) -> cst.ClassDef:
    """``node`` with method ``name`` in the form of ``text``; without it if None, added at the end if it is new."""
    made = statements(text.strip() + "\n") if text else []
    body: list[cst.BaseStatement] = []
    there = False
    for item in node.body.body:
        if isinstance(item, cst.FunctionDef) and item.name.value == name:
            there = True
            body += [m.with_changes(leading_lines=item.leading_lines) for m in made]
        else:
            body.append(item)  # type: ignore[arg-type]
    if not there:
        blank = [cst.EmptyLine(indent=False)]
        body += [m.with_changes(leading_lines=blank) for m in made]
    return node.with_changes(body=node.body.with_changes(body=body))
