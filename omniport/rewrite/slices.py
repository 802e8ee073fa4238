"""Whole values that meet the heads of a rank: the rank takes its part of them."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from omniport.plan.model import SlicePlan, TransformerPlan
from omniport.rewrite.syntax import assignment, code, dotted, expression, statements
from omniport.source.transform import transform
from omniport.source.walk import walk

FUNCTION = "part_of_rank"
TABLES = "tables_of_rank"

PART = '''
def part_of_rank(x: torch.Tensor, dim: int) -> torch.Tensor:
    """The part of ``x`` that meets the heads of this tensor-parallel rank; what is one for all heads stays."""
    if x.dim() < -dim or x.shape[dim] == 1:
        return x
    return x.chunk(get_tensor_model_parallel_world_size(), dim)[get_tensor_model_parallel_rank()]
'''

TABLES_OF = '''
def tables_of_rank(tables: tuple[torch.Tensor, torch.Tensor], dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of rotary tables over all heads that belongs to the heads of this tensor-parallel rank."""
    size, rank = get_tensor_model_parallel_world_size(), get_tensor_model_parallel_rank()
    cos, sin = (table.chunk(size, dim)[rank] for table in tables)
    return cos, sin
'''


def slice_helpers(plan: TransformerPlan) -> str:
    """The functions that the port needs."""
    operands = any(not item.call for item in plan.slices)
    return (PART if operands else "") + (TABLES_OF if any(item.call for item in plan.slices) else "")


def rewrite_slices(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """A class whose forward takes the rank's part of the values that the plan names."""
    own = [item for item in plan.slices if item.class_name == node.name.value]
    if not own:
        return node
    result = transform(node, _Slices(own))
    assert isinstance(result, cst.ClassDef)
    return result


class _Slices(cst.CSTTransformer):
    def __init__(self, slices: Sequence[SlicePlan]) -> None:
        self.operands = {item.expression: item.dim for item in slices if not item.call}
        self.arguments = {(item.call, item.expression): item.dim for item in slices if item.call}

    def leave_BinaryOperation(
        self, original_node: cst.BinaryOperation, updated_node: cst.BinaryOperation
    ) -> cst.BinaryOperation:
        for side in ("left", "right"):
            dim = self.operands.get(_text(getattr(original_node, side)))
            if dim is not None:
                part = expression(f"{FUNCTION}({code(getattr(updated_node, side))}, {dim})")
                updated_node = updated_node.with_changes(**{side: part})
        return updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        name = dotted(original_node.func).rpartition(".")[2]
        if len(original_node.args) < 2:
            return updated_node
        dim = self.arguments.get((name, _text(original_node.args[1].value)))
        if dim is None:
            return updated_node
        args = list(updated_node.args)
        part = expression(f"{TABLES}({code(args[1].value)}, {dim})")
        args[1] = args[1].with_changes(value=part)
        return updated_node.with_changes(args=args)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        """A name that is cut at each of its uses in a block is cut once, in front of them."""
        for name, dim in self.operands.items():
            updated_node = _once(updated_node, name, dim)
        return updated_node


def _text(node: cst.CSTNode) -> str:
    """Source text as the standard library writes it, in which plans name expressions."""
    import ast

    return ast.unparse(ast.parse(code(node).strip().replace("\n", " "), mode="eval"))


def _once(block: cst.IndentedBlock, name: str, dim: int) -> cst.IndentedBlock:
    if not name.isidentifier():
        return block
    part = f"{FUNCTION}({name}, {dim})"
    cut = [at for at, line in enumerate(block.body) if part in code(line)]
    if len(cut) < 2:
        return block
    rest = block.body[cut[0] :]
    reads = sum(isinstance(n, cst.Name) and n.value == name for line in rest for n in walk(line))
    if reads != sum(code(line).count(part) for line in rest) or any(_sets(line, name) for line in rest):
        return block
    body: list[cst.BaseStatement] = list(block.body[: cut[0]])
    body += statements(f"{name} = {part}\n")
    whole = _Whole(part, name)
    body += [transform(line, whole) for line in rest]
    return block.with_changes(body=body)


def _sets(line: cst.CSTNode, name: str) -> bool:
    return any((pair := assignment(part)) is not None and code(pair[0]) == name for part in walk(line))


class _Whole(cst.CSTTransformer):
    def __init__(self, part: str, name: str) -> None:
        self.part, self.name = part, name

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return cst.Name(self.name) if code(original_node) == self.part else updated_node
