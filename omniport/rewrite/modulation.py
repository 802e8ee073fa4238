"""Products that are added in float32 are one kernel in place of up to five.

``(x.float() + y * gate).type_as(x)``, or ``.to(x.dtype)``, with a gate in float32 reads and writes the tokens ten
times, mostly in float32; ``torch.addcmul(x, y, gate, out=torch.empty_like(x))`` casts as it reads and writes, three
times.  A norm of ``x`` in float32 that is scaled and shifted is rounded in the same way as it is written.  All compute
in float32 and round once.
A gated residual goes through vLLM-Omni's ``indexed_gate`` where the target has it: one row of the gate for each token,
at a third of the time (``benchmarks/gpu/elementwise.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.syntax import assignment, code, dotted, expression, method, self_attribute
from omniport.source.transform import transform
from omniport.source.walk import walk

#: Methods that keep the precision of their tensor.
_KEPT = frozenset({"chunk", "flatten", "squeeze", "unbind", "unflatten", "unsqueeze"})
#: Norms that return float32 for float32.
_NORMS = frozenset({"diffusers.models.normalization.FP32LayerNorm", "torch.nn.LayerNorm"})
_ARITHMETIC = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide)


GATED = "gated_residual"

HELPER = """
def gated_residual(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    \"\"\"``x + y * gate`` of ``[batch, tokens, width]`` in float32, rounded once, in one kernel where possible.\"\"\"
    fits = gate.ndim == x.ndim == 3 and gate.shape[0] == x.shape[0] and gate.shape[1] in (1, x.shape[1])
    if torch.compiler.is_compiling() or not fits or y.shape != x.shape:
        return torch.addcmul(x, y, gate, out=torch.empty_like(x))
    tokens, others, gates = (part.flatten(0, 1).contiguous() for part in (x, y, gate))
    rows = torch.arange(len(tokens), device=x.device) // (x.shape[1] // gate.shape[1])
    return indexed_gate(tokens, gates, others, rows).view(x.shape)
"""


def fuse_modulation(module: cst.Module, imported: Mapping[str, str], *, gate_kernel: bool = False) -> cst.Module:
    """``module`` with such sums as one call; the same object if there is none.

    Args:
        module: what is rewritten.
        imported: the full name of each imported name.
        gate_kernel: whether the target has ``indexed_gate``; then a gated residual calls :data:`HELPER`.
    """
    taken = {item.name.value for item in module.body if isinstance(item, cst.ClassDef | cst.FunctionDef)}
    made = transform(module, _Fuse(imported, gate_kernel and GATED not in taken))
    assert isinstance(made, cst.Module)
    return made


class _Fuse(cst.CSTTransformer):
    def __init__(self, imported: Mapping[str, str], gate_kernel: bool) -> None:
        self.imported = imported
        self.gate_kernel = gate_kernel
        self.norms: set[str] = set()
        self.functions: list[cst.FunctionDef] = []
        self.read: dict[cst.FunctionDef, _Function] = {}  # only functions with something to fuse are looked into

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        """Collect the attributes that hold nothing but such a norm."""
        pairs = [pair for part in walk(method(node, "__init__") or cst.Pass()) if (pair := assignment(part))]
        kinds: dict[str, set[bool]] = {}
        for target, value in pairs:
            first, _, rest = (dotted(value.func) if isinstance(value, cst.Call) else "").partition(".")
            meant = ".".join(filter(None, (self.imported.get(first, first), rest)))
            kinds.setdefault(self_attribute(target), set()).add(meant in _NORMS)
        self.norms = {name for name, found in kinds.items() if name and found == {True}}

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        if node.name.value == "__init__":
            return False
        self.functions.append(node)
        return True

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if original_node.name.value != "__init__":
            self.functions.pop()
        return updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        func = updated_node.func
        if not self.functions or not isinstance(func, cst.Attribute) or not isinstance(func.value, cst.BinaryOperation):
            return updated_node
        target = _rounded_as(updated_node)
        if not target:
            return updated_node
        function = self.functions[-1]
        if function not in self.read:
            self.read[function] = _Function(function, self.norms)
        if (product := self.read[function].product(func.value)) is not None:
            return updated_node.with_changes(func=func.with_changes(value=product))
        parts = self.read[function].parts(func.value)
        if parts is None:
            return updated_node
        added, one, two = parts
        if self.gate_kernel and added == target and (pair := self.read[function].gated(one, two)):
            return expression(f"{GATED}({added}, {pair[0]}, {pair[1]})")
        if any(self.read[function].long_as(part, target) for part in (added, one, two)):
            return expression(f"torch.addcmul({added}, {one}, {two}, out=torch.empty_like({target}))")
        return expression(f"torch.addcmul({added}, {one}, {two}).type_as({target})")


class _Function:
    """What is known of the locals of a function: which are float32, and which are tensors that a module made."""

    def __init__(self, node: cst.FunctionDef, norms: set[str]) -> None:
        self.norms = norms
        values: dict[str, list[cst.BaseExpression]] = {}
        other = {param.name.value for param in walk(node.params) if isinstance(param, cst.Param)}
        self.outputs: set[str] = set()  # what a module gave back, as wide as the tokens
        for part in walk(node.body):
            pair = assignment(part)
            if pair is not None:
                targets = pair[0].elements if isinstance(pair[0], cst.Tuple) else ()
                if targets and not _kept(pair[1]):  # a module may give back anything
                    other |= {code(element.value) for element in targets}
                for name in [code(element.value) for element in targets] or [code(pair[0])]:
                    values.setdefault(name, []).append(pair[1])
                if isinstance(pair[1], cst.Call) and self_attribute(pair[1].func):
                    self.outputs.add(code(pair[0]))
            elif isinstance(part, cst.AugAssign | cst.AnnAssign | cst.For | cst.NamedExpr):
                other |= {name.value for name in walk(part.target) if isinstance(name, cst.Name)}
        self.made = {name for name, found in values.items() if all(_tensor_call(value) for value in found)} - other
        self.single = set(values) - other
        while wrong := {name for name in self.single if not all(self.float32(value) for value in values[name])}:
            self.single -= wrong

    def float32(self, node: cst.BaseExpression) -> bool:
        """Whether a tensor is certainly float32; nothing is in double precision."""
        if isinstance(node, cst.Name):
            return node.value in self.single
        if isinstance(node, cst.Subscript):
            return self.float32(node.value)
        if isinstance(node, cst.BinaryOperation):
            return isinstance(node.operator, _ARITHMETIC) and (self.float32(node.left) or self.float32(node.right))
        if isinstance(node, cst.Call) and self_attribute(node.func) in self.norms:
            return len(node.args) == 1 and self.float32(node.args[0].value)
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            return _cast(node) or (node.func.attr.value in _KEPT and self.float32(node.func.value))
        return False

    def tensor(self, node: cst.BaseExpression) -> bool:
        """Whether a value is certainly a tensor, which ``addcmul`` needs."""
        if isinstance(node, cst.BinaryOperation):
            return isinstance(node.operator, _ARITHMETIC) and (self.tensor(node.left) or self.tensor(node.right))
        return _tensor_call(node) or self.float32(node) or (isinstance(node, cst.Name) and node.value in self.made)

    def long_as(self, part: str, target: str) -> bool:
        """Whether an operand is the target or a norm of it: what is added to it or multiplied is no longer."""
        return part == target or part in {f"self.{norm}({target}.float())" for norm in self.norms}

    def gated(self, one: str, two: str) -> tuple[str, str] | None:
        """The tokens and the gate of a product; None if it is not certain which factor is the gate in float32."""
        first, second = (self.float32(expression(part)) for part in (one, two))
        if first == second:
            return None
        return (one, two) if second else (two, one)

    def product(self, value: cst.BinaryOperation) -> cst.BinaryOperation | None:
        """``gate.float() * y`` for a product with ``y.float()``, where a module made ``y``: the product casts it."""
        casts = [_cast(value.left), _cast(value.right)]
        if not isinstance(value.operator, cst.Multiply) or not all(casts):
            return None
        wide = [side for side in ("left", "right") if self.output(_uncast(getattr(value, side)))]
        return value.with_changes(**{wide[0]: _uncast(getattr(value, wide[0]))}) if len(wide) == 1 else None

    def output(self, node: cst.BaseExpression) -> bool:
        """Whether a module gave ``node`` back."""
        return code(node) in self.outputs or (isinstance(node, cst.Call) and bool(self_attribute(node.func)))

    def parts(self, total: cst.BaseExpression) -> list[str] | None:
        """The operands of ``added + one * two``; None if it is no such sum, or not certainly in float32."""
        if not isinstance(total, cst.BinaryOperation) or not isinstance(total.operator, cst.Add):
            return None
        added, product = total.left, total.right
        if not isinstance(product, cst.BinaryOperation):
            added, product = product, added
        if not isinstance(product, cst.BinaryOperation) or not isinstance(product.operator, cst.Multiply):
            return None
        parts = [added, product.left, product.right]
        if not self.float32(product) or not all(self.tensor(part) for part in parts):
            return None
        bare = [_uncast(part) for part in parts]
        if not any(self.float32(part) for part in bare):  # one cast stays: that of the narrow factor
            narrow = [place for place in (1, 2) if not self.output(bare[place])]
            if len(narrow) != 1:
                return None
            bare[narrow[0]] = parts[narrow[0]]
        return [code(part.with_changes(lpar=[], rpar=[])) for part in bare]


def _rounded_as(node: cst.Call) -> str:
    """The tensor whose precision ``node`` gives: ``x`` of ``.type_as(x)`` and of ``.to(x.dtype)``; "" for others."""
    if len(node.args) != 1 or not isinstance(node.func, cst.Attribute) or node.args[0].keyword is not None:
        return ""
    method, value = node.func.attr.value, node.args[0].value
    if method == "to" and isinstance(value, cst.Attribute) and value.attr.value == "dtype":
        return code(value.value)
    return code(value) if method == "type_as" else ""


def _tensor_call(node: cst.BaseExpression) -> bool:
    """Whether a call certainly returns a tensor: of a module, or of a method that only tensors have."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return False
    return bool(self_attribute(node.func)) or _kept(node) or node.func.attr.value == "to"


def _kept(node: cst.BaseExpression) -> bool:
    """Whether a value is a call of a method that only tensors have and that gives back tensors."""
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value in _KEPT


def _cast(node: cst.BaseExpression) -> bool:
    """Whether ``node`` is ``x.float()``."""
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Attribute)
        and node.func.attr.value == "float"
        and not node.args
    )


def _uncast(node: cst.BaseExpression) -> cst.BaseExpression:
    """``x`` of ``x.float()``, which ``addcmul`` casts as it reads it."""
    if _cast(node) and isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        return node.func.value
    return node
