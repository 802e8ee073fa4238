"""Packed experts of which each rank holds its run of the inner width; one batched product for all of them."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.experts import SUBJECT
from omniport.analyse.library import EXPERTS as SIZES
from omniport.plan.model import TransformerPlan
from omniport.rewrite.dead import drop_dead_locals
from omniport.rewrite.syntax import assignment, code, self_attribute, statements, variables
from omniport.source.transform import transform
from omniport.source.walk import walk

LAYER = '''
class ShardedExperts(nn.Module):
    """SwiGLU experts of which each tensor-parallel rank holds its share of the inner width.

    Takes rows sorted by expert, as many for each; the results of the ranks are to be summed up.
    """

    def __init__(self, hidden_size: int, moe_intermediate_dim: int, num_experts: int):
        super().__init__()
        check_divisible("ShardedExperts", moe_intermediate_dim=moe_intermediate_dim)
        self.tp_size = get_tensor_model_parallel_world_size()
        share = moe_intermediate_dim // self.tp_size
        self.gate_up_proj = nn.Parameter(torch.empty(num_experts, hidden_size, 2 * share))
        self.down_proj = nn.Parameter(torch.empty(num_experts, share, hidden_size))
        set_weight_attrs(self.gate_up_proj, {"weight_loader": self.load_gate_up})
        set_weight_attrs(self.down_proj, {"weight_loader": sharded_weight_loader(1)})

    def load_gate_up(self, parameter: nn.Parameter, loaded_weight: torch.Tensor) -> None:
        rank = get_tensor_model_parallel_rank()
        halves = [half.chunk(self.tp_size, dim=-1)[rank] for half in loaded_weight.chunk(2, dim=-1)]
        default_weight_loader(parameter, torch.cat(halves, dim=-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unflatten(0, (self.gate_up_proj.shape[0], -1))
        gate, up = torch.bmm(x, self.gate_up_proj).chunk(2, dim=-1)
        return torch.bmm(F.silu(gate) * up, self.down_proj).flatten(0, 1)
'''

_NAME = "ShardedExperts"
_REDUCE = "tensor_model_parallel_all_reduce"
_KEEP = frozenset({"float", "to", "type_as"})  # methods that a sum may pass through


def expert_helpers(plan: TransformerPlan) -> str:
    """The layer, where the port needs it."""
    return LAYER if _sharded(plan) else ""


def _sharded(plan: TransformerPlan) -> set[str]:
    found = (d for d in plan.decisions if d.subject.startswith(SUBJECT) and d.value == "sharded")
    return {d.subject.removeprefix(SUBJECT) for d in found}


def rewrite_experts(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """A class whose packed experts the ranks share."""
    paths = (path.partition(".") for path in _sharded(plan))
    names = {name for cls, _, name in paths if cls == node.name.value}
    if not names:
        return node
    items = []
    for item in node.body.body:
        changed = transform(item, _Experts(names)) if isinstance(item, cst.FunctionDef) else item
        if isinstance(item, cst.FunctionDef) and isinstance(changed, cst.FunctionDef) and changed is not item:
            changed = drop_dead_locals(item, changed)
        items.append(changed)
    return node.with_changes(body=node.body.with_changes(body=items))


class _Experts(cst.CSTTransformer):
    """Makes and calls them."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.counts: set[str] = set()  # numbers of rows, which are no longer given

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        for part in walk(node.body):
            if isinstance(part, cst.Call) and self_attribute(part.func) in self.names:
                self.counts |= set(variables(part.args[1]))

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(updated_node)
        if pair is None:
            return updated_node
        if isinstance(pair[0], cst.Name) and pair[0].value in self.counts:
            return cst.RemoveFromParent()
        if self_attribute(pair[0]) in self.names and isinstance(pair[1], cst.Call):
            sizes = {name for names in SIZES.values() for name in names}
            kept = [arg for arg in pair[1].args if arg.keyword is not None and arg.keyword.value in sizes]
            call = pair[1].with_changes(func=cst.Name(_NAME), args=kept)
            return updated_node.with_deep_changes(updated_node.body[0], value=call)
        return updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if self_attribute(updated_node.func) not in self.names:
            return updated_node
        return updated_node.with_changes(args=[updated_node.args[0].with_changes(comma=cst.MaybeSentinel.DEFAULT)])

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(updated_node.body)
        for at, line in enumerate(body):
            pair = assignment(line)
            called = pair is not None and isinstance(pair[1], cst.Call) and self_attribute(pair[1].func) in self.names
            if pair is not None and called and isinstance(pair[0], cst.Name):
                return updated_node.with_changes(body=_summed(body, at, pair[0].value))
        return updated_node


def _summed(body: list[cst.BaseStatement], at: int, name: str) -> list[cst.BaseStatement]:
    """``body`` with the ranks' results in ``name`` summed up: where they are added to the tokens they belong to, or at
    once."""
    for number in range(at + 1, len(body)):
        pair = assignment(body[number])
        if name not in variables(body[number]):
            continue
        if pair is not None and code(pair[0]) == name and _proportional(pair[1], name):
            continue
        added = _added(pair[1], name) if pair is not None else None
        rest = {word for line in body[number + 1 :] for word in variables(line)}
        if pair is None or added is None or name in rest:
            break
        into, arguments = added
        text = f"{code(pair[0])} = {into} + {_REDUCE}(torch.zeros_like({into}).scatter_add({arguments}))\n"
        return [*body[:number], *statements(text), *body[number + 1 :]]
    return [*body[: at + 1], *statements(f"{name} = {_REDUCE}({name})\n"), *body[at + 1 :]]


def _proportional(value: cst.BaseExpression, name: str) -> bool:
    """Whether a sum of values of ``name`` gives the sum of these."""
    if isinstance(value, cst.Name):
        return value.value == name
    if isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute):
        others = {word for arg in value.args for word in variables(arg)}
        return value.func.attr.value in _KEEP and name not in others and _proportional(value.func.value, name)
    if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.Multiply):
        sides = [value.left, value.right]
        holding = [side for side in sides if name in variables(side)]
        return len(holding) == 1 and _proportional(holding[0], name)
    return False


def _added(value: cst.BaseExpression, name: str) -> tuple[str, str] | None:
    """``out`` and the arguments of ``out.scatter_add(..., src=name)``."""
    if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
        return None
    source = [arg for arg in value.args if arg.keyword is not None and arg.keyword.value == "src"]
    once = list(variables(value)).count(name) == 1
    if value.func.attr.value != "scatter_add" or not once or [code(arg.value) for arg in source] != [name]:
        return None
    arguments = ", ".join(code(arg.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for arg in value.args)
    return (code(value.func.value), arguments) if isinstance(value.func.value, cst.Name) else None
