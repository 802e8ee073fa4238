"""Every attribute that a class of the port reads is one that it has: what a pass lost is refused, not written."""

from __future__ import annotations

import ast

from omniport.errors import UnsupportedError


def require_attributes(code: str, source: str, file: str) -> None:
    """Check the classes of ``code`` against those of ``source`` that they were written from.

    Raises:
        UnsupportedError: one reads ``self.x``, which classes of ``source`` set and it does not.
    """
    set_there = set().union(*(_own(n) for n in ast.parse(source).body if isinstance(n, ast.ClassDef)))
    for node in (n for n in ast.parse(code).body if isinstance(n, ast.ClassDef)):
        if [ast.unparse(base) for base in node.bases] != ["nn.Module"]:
            continue  # what it inherits is not in the text
        lost = (_attributes(node, ast.Load) & set_there) - _own(node)
        if lost:
            raise UnsupportedError(f"{node.name} reads self.{min(lost)}, which nothing sets", file, 0)


def _own(node: ast.ClassDef) -> set[str]:
    """Attributes that a class has: its methods, class attributes, what it assigns and registers."""
    own = {n.name for n in node.body if isinstance(n, ast.FunctionDef)} | _attributes(node, ast.Store)
    for statement in node.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            own |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for call in (c for c in ast.walk(node) if isinstance(c, ast.Call) and isinstance(c.func, ast.Attribute)):
        name = call.args[0] if call.args else None
        registers = isinstance(call.func, ast.Attribute) and call.func.attr in _REGISTERS
        if registers and isinstance(name, ast.Constant) and isinstance(name.value, str):
            own.add(name.value)
    return own


_REGISTERS = ("register_buffer", "register_parameter", "add_module", "register_module")


def _attributes(node: ast.ClassDef, context: type[ast.expr_context]) -> set[str]:
    return {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute)
        and isinstance(n.value, ast.Name)
        and n.value.id == "self"
        and isinstance(n.ctx, context)
    }
