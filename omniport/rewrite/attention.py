"""The attention call becomes vLLM-Omni's ``Attention`` layer; query, key and value are projected together."""

from __future__ import annotations

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import AttentionPlan, TransformerPlan
from omniport.rewrite.layers import linears_of
from omniport.rewrite.syntax import (
    assignment,
    code,
    dotted,
    expression,
    method,
    names_in,
    self_attribute,
    statements,
    substitute,
)

_CALL = "dispatch_attention_fn"
_RESHAPES = frozenset({"unflatten", "view", "reshape"})


def rewrite_attention(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """Give a class that calls attention its layer; other classes are returned as they are.

    Raises:
        UnsupportedError: projections that are fused are not called in a form the rewrite knows.
    """
    attention = next((a for a in plan.attentions if a.class_name == node.name.value), None)
    init, forward = method(node, "__init__"), method(node, "forward")
    if attention is None or init is None or forward is None:
        return node
    rewriter = _Attention(node, plan, attention)
    changed = forward.visit(rewriter)
    if rewriter.left:
        raise UnsupportedError(
            f"{node.name.value} calls {sorted(rewriter.left)[0]} in a form that is not followed",
            attention.why.file,
            attention.why.line,
        )
    body = [*init.body.body, *statements(rewriter.construction())]
    new_init = init.with_changes(body=init.body.with_changes(body=body))
    items = [new_init if item is init else changed if item is forward else item for item in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=items))


class _Attention(cst.CSTTransformer):
    def __init__(self, node: cst.ClassDef, plan: TransformerPlan, attention: AttentionPlan) -> None:
        self.attention = attention
        self.cls = node.name.value
        self.linears = linears_of(plan, self.cls)
        self.sharded = any(d.subject == f"heads of {self.cls}" and d.value == "sharded" for d in plan.decisions)
        taken = set(names_in(node)) - {_CALL}
        self.name = next(name for name in ("attn", "attention", "attn_layer", "omni_attn") if name not in taken)
        self.groups: dict[str, dict[str, str]] = {}  # fused -> shard -> attribute
        for path, linear in self.linears.items():
            if linear.fused is not None and linear.shard is not None:
                self.groups.setdefault(linear.fused, {})[linear.shard] = path
        self.left = {path for group in self.groups.values() for path in group.values()}

    def construction(self) -> str:
        """The line that makes the layer, with the heads of this rank."""
        heads, kv_heads = self.attention.heads, self.attention.kv_heads
        main = next(iter(self.groups), None)
        if main is not None:
            local, local_kv = f"self.{main}.num_heads", f"self.{main}.num_kv_heads"
        elif self.sharded:
            local, local_kv = (f"{n} // get_tensor_model_parallel_world_size()" for n in (heads, kv_heads))
        else:
            local, local_kv = heads, kv_heads
        cross = ', role="cross", skip_sequence_parallel=True' if self.attention.kind == "cross" else ""
        return (
            f"self.{self.name} = Attention(num_heads={local}, head_size={self.attention.head_dim}, "
            f"softmax_scale={self.attention.softmax_scale}, causal={self.attention.causal}, num_kv_heads={local_kv}, "
            f'prefix=f"{{prefix}}.{self.name}"{cross})'
        )

    # --------------------------------------------------------------------------------------------------------- the call
    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        name = dotted(original_node.func).rpartition(".")[2]
        if name == _CALL:
            tensors = [
                arg
                for arg in updated_node.args
                if arg.keyword is None or arg.keyword.value in ("query", "key", "value")
            ]
            func = expression(f"self.{self.name}")
            return updated_node.with_changes(func=func, args=tensors)
        if (
            self.sharded
            and isinstance(original_node.func, cst.Attribute)
            and original_node.func.attr.value in _RESHAPES
        ):
            mapping = {
                self.attention.kv_heads: f"self.{self.name}.num_kv_heads",
                self.attention.heads: f"self.{self.name}.num_heads",
            }
            args = [substitute(arg, mapping) for arg in updated_node.args]
            return updated_node.with_changes(args=args)
        return updated_node

    # -------------------------------------------------------------------------------------------------- the projections
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(updated_node.body)
        for fused, group in self.groups.items():
            body = self._fuse(body, fused, group)
        return updated_node.with_changes(body=body)

    @staticmethod
    def _spread(line: cst.BaseStatement, group: dict[str, str]) -> list[cst.BaseStatement]:
        """``a, b = self.to_q(x), self.to_k(x)`` as two lines, if neither target is read on the right."""
        pair = assignment(line)
        if pair is None or not isinstance(pair[0], cst.Tuple) or not isinstance(pair[1], cst.Tuple):
            return [line]
        targets, values = ([e.value for e in side.elements] for side in pair if isinstance(side, cst.Tuple))
        called = {self_attribute(v.func) for v in values if isinstance(v, cst.Call)}
        read = {name for value in values for name in names_in(value)}
        if not called & set(group.values()) or {code(t) for t in targets} & read or len(targets) != len(values):
            return [line]
        pairs = zip(targets, values, strict=True)
        lines = statements("".join(f"{code(target)} = {code(value)}\n" for target, value in pairs))
        first = lines[0]
        if isinstance(first, cst.SimpleStatementLine) and isinstance(line, cst.SimpleStatementLine):
            lines[0] = first.with_changes(leading_lines=line.leading_lines)
        return lines

    def _fuse(self, body: list[cst.BaseStatement], fused: str, group: dict[str, str]) -> list[cst.BaseStatement]:
        """Replace ``q = self.to_q(x)``, ``k = self.to_k(x)``, ``v = self.to_v(x)`` by one call of the fused layer."""
        body = [line for entry in body for line in self._spread(entry, group)]
        found: dict[str, tuple[int, str, str]] = {}  # shard -> line, target, argument
        for index, line in enumerate(body):
            pair = assignment(line)
            if pair is None or not isinstance(pair[1], cst.Call) or len(pair[1].args) != 1:
                continue
            for shard, path in group.items():
                if self_attribute(pair[1].func) == path and isinstance(pair[0], cst.Name):
                    found[shard] = (index, pair[0].value, code(pair[1].args[0].value))
        if set(found) != set(group):
            return body
        argument = found["q"][2]
        lines = sorted(entry[0] for entry in found.values())
        targets = {entry[1] for entry in found.values()}
        read = set(names_in(expression(argument)))
        between = [line for i, line in enumerate(body) if lines[0] < i < lines[-1] and i not in lines]
        touched = {name for line in between for name in names_in(line)} & (targets | read)
        if len({entry[2] for entry in found.values()}) > 1 or touched or len(targets) < len(found):
            return body
        self.left -= set(group.values())
        sizes = f".split(self.{fused}.output_partition_sizes, dim=-1)"
        cut = ".chunk(3, dim=-1)" if self.attention.heads == self.attention.kv_heads else sizes
        names = ", ".join(found[shard][1] for shard in ("q", "k", "v"))
        (joint,) = statements(f"{names} = self.{fused}({argument}){cut}")
        first = body[lines[0]]
        if isinstance(first, cst.SimpleStatementLine) and isinstance(joint, cst.SimpleStatementLine):
            joint = joint.with_changes(leading_lines=first.leading_lines)
        return [joint if i == lines[0] else line for i, line in enumerate(body) if i == lines[0] or i not in lines]
