"""What a port never needs of a model class: its loaders, savers, initialisers and switches of training."""

from __future__ import annotations

import re

import libcst as cst

#: weights come through ``load_weights``
_LOADERS = re.compile(r"(from_(pretrained|config|single_file|checkpoint)|save_\w+|load_(checkpoint|pretrained)\w*)\Z")
#: parameters are overwritten by the checkpoint
INITIALISERS = re.compile(r"_?(init|initialize|initialise|reset)_(weights|parameters)\w*\Z")
_TRAINING = re.compile(r"(_set_gradient_checkpointing|(enable|disable)_gradient_checkpointing)\Z")


def prepare(text: str) -> tuple[str, tuple[str, ...]]:
    """``text`` without those methods and the calls of them, and their names as ``Class.method``."""
    parsed = cst.parse_module(text)
    defined = frozenset(node.name.value for node in parsed.body if isinstance(node, cst.ClassDef))
    remover = _Remover(defined)
    module = parsed.visit(remover)
    return module.code, tuple(remover.removed)


class _Remover(cst.CSTTransformer):
    def __init__(self, defined: frozenset[str]) -> None:
        self._defined = defined
        self.removed: list[str] = []
        self._classes: list[str] = []
        self._functions = 0

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._classes.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self._classes.pop()
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._functions += 1

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        self._functions -= 1
        name = original_node.name.value
        if original_node.returns is not None and _is_shape(original_node.returns, self._defined):
            updated_node = updated_node.with_changes(returns=None)
        if not self._classes or self._functions:
            return updated_node
        decorators = {d.decorator.value for d in original_node.decorators if isinstance(d.decorator, cst.Name)}
        loads = _LOADERS.match(name) and bool(decorators & {"classmethod", "staticmethod"} or name.startswith("save_"))
        if loads or INITIALISERS.match(name) or _TRAINING.match(name):
            self.removed.append(f"{self._classes[-1]}.{name}")
            return cst.RemoveFromParent()
        return updated_node

    def leave_Param(self, original_node: cst.Param, updated_node: cst.Param) -> cst.Param:
        """Shapes in annotations (``float["b n d"]``) are no Python types: the parameter goes without."""
        if original_node.annotation is None or not _is_shape(original_node.annotation, self._defined):
            return updated_node
        return updated_node.with_changes(annotation=None)

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        """``self.init_weights()`` goes with the method."""
        call = original_node.body[0].value if isinstance(original_node.body[0], cst.Expr) else None
        if (
            isinstance(call, cst.Call)
            and isinstance(call.func, cst.Attribute)
            and isinstance(call.func.value, cst.Name)
            and call.func.value.value == "self"
            and INITIALISERS.match(call.func.attr.value)
        ):
            return cst.RemoveFromParent()
        return updated_node


def _is_shape(node: cst.CSTNode, defined: frozenset[str]) -> bool:
    """Whether an annotation holds text that names no class: a shape, or a class that is not there."""
    found = False

    class Strings(cst.CSTVisitor):
        def visit_Subscript(self, node: cst.Subscript) -> None:
            nonlocal found
            found |= isinstance(node.value, cst.Name) and node.value.value in ("float", "int", "bool", "complex")

        def visit_SimpleString(self, node: cst.SimpleString) -> None:
            nonlocal found
            found |= str(node.raw_value) not in defined

    node.visit(Strings())
    return found
