"""``self.net = nn.ModuleList([])`` and its appends become one list, dropout goes.

Dropout does nothing at inference.  In a list an ``nn.Identity`` keeps the index where others follow, since checkpoint
names count positions; elsewhere the module and its calls go.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.dead_code import pure
from omniport.rewrite.syntax import assignment, code, dotted, method, module_path, names_in, self_attribute, single
from omniport.source.transform import transform


def gather_lists(node: cst.ClassDef) -> cst.ClassDef:
    """Write lists that are filled by ``append`` as one literal, a local that is only appended included."""
    init = method(node, "__init__")
    if init is None:
        return node
    body: list[cst.BaseStatement] = []
    lists: dict[str, list[cst.BaseExpression]] = {}
    where: dict[str, int] = {}
    for statement in init.body.body:
        target = assignment(statement)
        if target is not None and _empty_list(target[1]) and (name := self_attribute(target[0])):
            lists[name] = []
            body.append(statement)  # type: ignore[arg-type]
            where[name] = len(body) - 1
            continue
        appended = _append(statement)
        if appended is not None and appended[0] in lists:
            name, value = appended
            if isinstance(value, cst.Name):
                value = _inline(value, body, init) or value
            lists[name].append(value)
            body.append(body[where[name]])
            body[where[name]] = cst.SimpleStatementLine([cst.Pass()])
            where[name] = len(body) - 1
            continue
        body.append(statement)  # type: ignore[arg-type]
    for name, values in lists.items():
        line = body[where[name]]
        small = single(line)
        assert isinstance(small, cst.Assign) and isinstance(small.value, cst.Call)
        literal = cst.List([cst.Element(value) for value in values])
        call = small.value.with_changes(args=[cst.Arg(literal)])
        body[where[name]] = cst.SimpleStatementLine([small.with_changes(value=call)])
    body = [line for line in body if not isinstance(single(line), cst.Pass)]
    if len(body) == len(init.body.body) and all(new is old for new, old in zip(body, init.body.body, strict=True)):
        return node
    changed = init.with_changes(body=init.body.with_changes(body=body))
    members = [changed if member is init else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _empty_list(value: cst.BaseExpression) -> bool:
    if not isinstance(value, cst.Call) or dotted(value.func).rpartition(".")[2] != "ModuleList":
        return False
    return not value.args or code(value.args[0].value) == "[]"


def _append(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    """List attribute and value of a line ``self.x.append(value)``."""
    small = single(statement)
    if not isinstance(small, cst.Expr) or not isinstance(small.value, cst.Call):
        return None
    owner, _, last = dotted(small.value.func).rpartition(".")
    if last != "append" or not owner.startswith("self.") or len(small.value.args) != 1:
        return None
    return owner[5:], small.value.args[0].value


def _inline(name: cst.Name, body: list[cst.BaseStatement], init: cst.FunctionDef) -> cst.BaseExpression | None:
    """The call a local was bound to, if the local has no other use; its line is taken out of ``body``."""
    if sum(found == name.value for found in names_in(init.body)) != 2:
        return None
    for index, statement in enumerate(body):
        target = assignment(statement)
        if target is not None and code(target[0]) == name.value and isinstance(target[1], cst.Call):
            body[index] = cst.SimpleStatementLine([cst.Pass()])
            return target[1]
    return None


def drop_dropout(node: cst.ClassDef) -> cst.ClassDef:
    """The class without its dropouts."""
    if "Dropout" not in names_in(node):
        return node
    result = transform(node, _DropDropout())
    assert isinstance(result, cst.ClassDef)
    return result


class _DropDropout(cst.CSTTransformer):
    """Takes the dropouts out of one class."""

    def __init__(self) -> None:
        self.gone: set[str] = set()  # paths whose calls are the identity

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        init = method(node, "__init__")
        for statement in init.body.body if init is not None else ():
            target = assignment(statement)
            if target is None or not (name := self_attribute(target[0])):
                continue
            if _is_dropout(target[1]):
                self.gone.add(name)
            elif isinstance(target[1], cst.Call) and target[1].args and isinstance(target[1].args[0].value, cst.List):
                elements = target[1].args[0].value.elements
                last = max((i for i, e in enumerate(elements) if not _is_dropout(e.value)), default=-1)
                self.gone |= {f"{name}.{i}" for i in range(last + 1, len(elements))}

    def leave_List(self, original_node: cst.List, updated_node: cst.List) -> cst.List:
        elements = list(updated_node.elements)
        while elements and _is_dropout(elements[-1].value):
            elements.pop()
        if len(elements) < len(updated_node.elements) and not elements:
            return updated_node
        kept = [
            e.with_changes(value=cst.parse_expression("nn.Identity()")) if _is_dropout(e.value) else e for e in elements
        ]
        changed = any(a is not b for a, b in zip(kept, updated_node.elements, strict=False))
        return (
            updated_node.with_changes(elements=kept)
            if changed or len(kept) < len(updated_node.elements)
            else updated_node
        )

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        target = assignment(updated_node)
        if target is None:
            return updated_node
        to_itself = type(target[0]) is type(target[1]) and code(target[0]) == code(target[1])
        if to_itself or self_attribute(target[0]) in self.gone:
            return cst.RemoveFromParent()
        return updated_node

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If | cst.RemovalSentinel:
        """What is left of ``if len(self.to_out) > 1: x = self.to_out[1](x)``."""
        if updated_node.body.body or updated_node.orelse is not None or not pure(updated_node.test):
            return updated_node
        return cst.RemoveFromParent()

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if module_path(original_node.func) in self.gone and len(updated_node.args) == 1:
            return updated_node.args[0].value
        return updated_node


def _is_dropout(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Call) and dotted(value.func).rpartition(".")[2] == "Dropout"
