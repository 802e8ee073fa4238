"""A setting that chooses between attention kernels is fixed to the kernel that means vLLM-Omni's layer.

``if self.backend == "torch": scaled_dot_product_attention(...) else: flash_attn_func(...)``: which kernel runs is the
layer's matter in vLLM-Omni.  The branch that plain torch attends in stays, every other reading of the setting in that
class becomes its value, and a constructor that is given another one refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import libcst as cst

from omniport.source.syntax import code, constant, dotted
from omniport.source.walk import walk

_TORCH = "scaled_dot_product_attention"
_FOREIGN = ("flash_attn_func", "flash_attn_varlen_func", "flash_attention", "memory_efficient_attention")


def kernel_choice(module: cst.Module) -> cst.Module:
    """The module with such settings fixed."""
    classes = {n.name.value: n for n in module.body if isinstance(n, cst.ClassDef)}
    defined = frozenset(n.name.value for n in module.body if isinstance(n, cst.FunctionDef))
    chosen: dict[str, dict[str, object]] = {}  # class -> setting -> its value
    for name, node in classes.items():
        for owner, setting, value in _choices(node, defined):
            holders = [name] if owner == "self" else [n for n, c in classes.items() if _hands_over(c)]
            holders = [h for h in holders if setting in _stored(classes[h])]
            for each in (name, *holders) if holders else ():
                chosen.setdefault(each, {})[setting] = value
    body = [
        n.visit(_Fixed(n.name.value, chosen[n.name.value]))
        if isinstance(n, cst.ClassDef) and n.name.value in chosen
        else n
        for n in module.body
    ]
    return module.with_changes(body=body)


def _choices(node: cst.ClassDef, defined: frozenset[str]) -> Iterator[tuple[str, str, object]]:
    """Owner, setting and value of every choice in a class; a processor's owner is the module that it is handed."""
    for method in (m for m in node.body.body if isinstance(m, cst.FunctionDef)):
        params = [p.name.value for p in method.params.params]
        owners = {"self", *(params[1:2] if method.name.value == "__call__" else ())}
        for branch in (p for p in walk(method) if isinstance(p, cst.If) and p.orelse is not None):
            test = _setting(branch.test)
            if test is None or test[0] not in owners or branch.orelse is None:
                continue
            owner, setting, if_so, if_not = test
            ways = (_kernels(branch.body, defined), _kernels(branch.orelse, defined))
            value = if_so if ways == ((True,), (False,)) else if_not if ways == ((False,), (True,)) else None
            if value is not None:
                yield owner, setting, value


def _setting(test: cst.BaseExpression) -> tuple[str, str, object, object] | None:
    """``self.a == "b"``, ``self.a`` or ``not self.a``: owner, setting, and its value where it holds and where not."""
    values: tuple[object, object] = (True, False)
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        test, values = test.expression, (False, True)
    elif isinstance(test, cst.Comparison) and len(test.comparisons) == 1:
        target = test.comparisons[0]
        values = (constant(target.comparator), None)
        if not isinstance(target.operator, cst.Equal) or not isinstance(values[0], str):
            return None
        test = test.left
    path = (dotted(test) or "").split(".")
    return (path[0], path[1], *values) if len(path) == 2 else None


def _hands_over(node: cst.ClassDef) -> bool:
    """Whether the class calls a processor."""
    return any(isinstance(p, cst.Call) and dotted(p.func) == "self.processor" for p in walk(node))


def _stored(node: cst.ClassDef) -> set[str]:
    """Settings: constructor parameters that the class keeps under their own names."""
    found = set()
    for method in (m for m in node.body.body if isinstance(m, cst.FunctionDef) and m.name.value == "__init__"):
        found = {name for statement in method.body.body if (name := _keeps(statement))}
    return found


def _keeps(statement: cst.CSTNode) -> str | None:
    """``a`` of ``self.a = a``."""
    part = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1 or not isinstance(part.value, cst.Name):
        return None
    return part.value.value if dotted(part.targets[0].target) == f"self.{part.value.value}" else None


def _kernels(node: cst.CSTNode, defined: frozenset[str]) -> tuple[bool, ...]:
    """Of the attention kernels called below a node, without repeats: whether they are torch's own."""
    names = {(dotted(c.func) or "").rpartition(".")[2] for c in walk(node) if isinstance(c, cst.Call)}
    return tuple(sorted({n == _TORCH for n in names if (n == _TORCH or n in _FOREIGN) and n not in defined}))


class _Fixed(cst.CSTTransformer):
    def __init__(self, owner: str, settings: Mapping[str, object]) -> None:
        self._owner, self._settings = owner, settings
        self._objects = ["self"]

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        params = [p.name.value for p in node.params.params]
        self._objects = ["self", *(params[1:2] if node.name.value == "__call__" else ())]

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement:
        part = original_node.body[0] if len(original_node.body) == 1 else None
        target = part.targets[0].target if isinstance(part, cst.Assign) and len(part.targets) == 1 else None
        owner, _, name = (dotted(target) or "").partition(".") if target is not None else ("", "", "")
        if owner != "self" or name not in self._settings or not isinstance(part, cst.Assign):
            return updated_node
        wanted, given = self._settings[name], code(part.value)
        test = {True: f"not {given}", False: given}.get(wanted, f"{given} != {wanted!r}")  # type: ignore[call-overload]
        text = f'raise ValueError("{self._owner}: {name} must be {wanted!r}")'
        return cst.ensure_type(cst.parse_statement(f"if {test}:\n    {text}\n"), cst.If)

    def leave_Comparison(self, original_node: cst.Comparison, updated_node: cst.Comparison) -> cst.BaseExpression:
        test = _setting(original_node)
        if test is None or test[0] not in self._objects or test[1] not in self._settings:
            return updated_node
        return cst.Name(str(self._settings[test[1]] == test[2]))

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        path = (dotted(original_node) or "").split(".")
        if len(path) != 2 or path[0] not in self._objects or path[1] not in self._settings:
            return updated_node
        return cst.parse_expression(repr(self._settings[path[1]]))
