"""Take the plumbing off a class: decorators, mixins, private class attributes, processor registration, docstring."""

from __future__ import annotations

import libcst as cst

from omniport.analyse import knowledge
from omniport.errors import UnsupportedError
from omniport.source.slice import marker
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def strip_class(node: cst.ClassDef, *, keep_docstring: bool) -> cst.ClassDef:
    """``node`` as a plain ``nn.Module``.

    Raises:
        UnsupportedError: a decorator or a base that is not known to be plumbing.
    """
    where = _where(node)
    for place, decorator in [(where, d) for d in node.decorators] + [
        (marker(f) or where, d) for f in _functions(node) for d in f.decorators
    ]:
        target = decorator.decorator.func if isinstance(decorator.decorator, cst.Call) else decorator.decorator
        name = dotted(target) or code(target)
        if name not in knowledge.DROPPED_DECORATORS and name not in ("staticmethod", "property"):
            raise UnsupportedError(f"decorator @{name} on {node.name.value}", *place)
    bases = []
    for base in node.bases:
        name = (dotted(base.value) or code(base.value)).split(".")[-1]
        if name != "Module" and not knowledge.DROPPED_BASES.match(name):
            raise UnsupportedError(f"base class {name} of {node.name.value}", *where)
    bases = [cst.Arg(cst.Attribute(cst.Name("nn"), cst.Name("Module")))]
    body: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for index, statement in enumerate(node.body.body):
        if isinstance(statement, cst.FunctionDef):
            body.append(statement.with_changes(decorators=_kept(statement), body=_plain(statement.body)))
        elif isinstance(statement, cst.SimpleStatementLine):
            part = statement.body[0]
            docstring = index == 0 and isinstance(part, cst.Expr)
            if docstring and keep_docstring or isinstance(part, cst.Assign | cst.AnnAssign) and not _private(part):
                body.append(statement)
    lines = [line for line in node.leading_lines if line.comment is not None]
    return node.with_changes(
        decorators=(), bases=bases, body=node.body.with_changes(body=body), leading_lines=lines, lpar=_LPAR, rpar=_RPAR
    )


_LPAR, _RPAR = cst.LeftParen(), cst.RightParen()


def _where(node: cst.ClassDef) -> tuple[str, int]:
    """The class line, or the nearest line below it that is known."""
    marks = (marker(member) for member in node.body.body)
    return marker(node) or next((m for m in marks if m), ("", 0))


def _functions(node: cst.ClassDef) -> list[cst.FunctionDef]:
    return [f for f in node.body.body if isinstance(f, cst.FunctionDef)]


def _kept(node: cst.FunctionDef) -> list[cst.Decorator]:
    return [d for d in node.decorators if dotted(d.decorator) in ("staticmethod", "property")]


def _private(node: cst.Assign | cst.AnnAssign) -> bool:
    target = node.target if isinstance(node, cst.AnnAssign) else node.targets[0].target
    return (dotted(target) or "").startswith("_")


def _plain(body: cst.BaseSuite) -> cst.BaseSuite:
    """Without ``self.set_processor(...)``: the processor becomes part of the forward."""

    def registers(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
        if not isinstance(statement, cst.SimpleStatementLine):
            return False
        if not isinstance(statement.body[0], cst.Expr):
            return False
        call = statement.body[0].value
        return isinstance(call, cst.Call) and dotted(call.func) in ("self.set_processor", "self.register_to_config")

    return body.with_changes(body=[s for s in body.body if not registers(s)])


def drop_local_imports(node: cst.ClassDef) -> cst.ClassDef:
    """Without relative imports inside functions: the port imports at the top, by absolute name."""
    if not any(part.relative for part in of_kind(node, cst.ImportFrom)):
        return node
    new = transform(node, _DropImports())
    assert isinstance(new, cst.ClassDef)
    return new


class _DropImports(cst.CSTTransformer):
    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        part = original_node.body[0]
        return cst.RemoveFromParent() if isinstance(part, cst.ImportFrom) and part.relative else updated_node


def drop_processor_loops(node: cst.ClassDef) -> cst.ClassDef:
    """Without ``for block in self.blocks: block.attn.set_processor(...)`` in the constructor."""

    def sets(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
        if not isinstance(statement, cst.For) or len(statement.body.body) != 1:
            return False
        inner = statement.body.body[0]
        part = inner.body[0] if isinstance(inner, cst.SimpleStatementLine) else None
        call = part.value if isinstance(part, cst.Expr) else None
        return isinstance(call, cst.Call) and code(call.func).endswith(".set_processor")

    members = []
    for member in node.body.body:
        if isinstance(member, cst.FunctionDef) and member.name.value == "__init__":
            kept = [s for s in member.body.body if not sets(s)]
            member = member.with_changes(body=member.body.with_changes(body=kept))
        members.append(member)
    return node.with_changes(body=node.body.with_changes(body=members))


def used_methods(node: cst.ClassDef) -> cst.ClassDef:
    """Without the methods that neither the constructor nor the forward reaches."""
    functions = {f.name.value: f for f in node.body.body if isinstance(f, cst.FunctionDef)}
    used: set[str] = set()
    todo: list[str] = [name for name in ("__init__", "forward") if name in functions]
    todo += [f.name.value for f in functions.values() if f.decorators]  # static: called through the class
    while todo:
        name = todo.pop()
        used.add(name)
        read = {
            part.attr.value
            for part in of_kind(functions[name], cst.Attribute)
            if type(part.value) is cst.Name and part.value.value == "self"
        }
        todo.extend(n for n in functions if n in read and n not in used and n not in todo)
    body = [m for m in node.body.body if not isinstance(m, cst.FunctionDef) or m.name.value in used]
    return node.with_changes(body=node.body.with_changes(body=body))
