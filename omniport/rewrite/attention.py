"""The attention call becomes vLLM-Omni's ``Attention`` layer; query, key and value are projected together."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.plan.model import AttentionPlan, TransformerPlan
from omniport.rewrite.dead import drop_dead_locals
from omniport.rewrite.heads import whole_heads
from omniport.rewrite.layers import KEY_STREAMS, linears_of
from omniport.rewrite.same_dtype import drop_casts
from omniport.rewrite.shared_layers import with_shared_layers
from omniport.rewrite.split_heads import split_heads, widths_of
from omniport.rewrite.syntax import (
    assignment,
    code,
    dotted,
    expression,
    method,
    names_in,
    self_attribute,
    statements,
)
from omniport.rewrite.tokens_first import norms_of, tokens_first
from omniport.source.transform import transform
from omniport.source.walk import of_kind

#: Attention functions of the normal form -> whether they take heads before tokens.
ATTENTION: dict[str, bool] = {"dispatch_attention_fn": False, "scaled_dot_product_attention": True}
#: The function of the port that masks the keys that pad their streams.
METADATA = "sequence_metadata"
#: The function of the port that puts masks over the keys of each rank together.
GATHER_KEYS = "gather_keys"
_PARAMETERS = ("query", "key", "value", "attn_mask")
_KEY = re.compile(r"\A(key|k)(?=_|\Z)")


def rewrite_attention(
    node: cst.ClassDef, plan: TransformerPlan, layer: str, masked: str, imported: Mapping[str, str]
) -> cst.ClassDef:
    """Give a class that calls attention its layers; other classes are returned as they are.

    Args:
        layer: the name that vLLM-Omni's layer has in the port.
        masked: the name of the layer that takes any mask.
        imported: the names that the port imports and what they stand for.

    Raises:
        UnsupportedError: projections that are fused are not called in a form the rewrite knows.
    """
    attentions = [a for a in plan.attentions if a.class_name == node.name.value]
    init = method(node, "__init__")
    if not attentions or init is None:
        return node
    rewriter = _Attention(node, plan, attentions, layer, masked)
    layers, norms = [name for _, name in rewriter.made.values()], norms_of(node)
    widths = widths_of(node)
    items: dict[int, cst.FunctionDef] = {}
    for item in node.body.body:
        if isinstance(item, cst.FunctionDef) and _method(item):
            changed = drop_dead_locals(item, transform(item, rewriter))
            changed = tokens_first(changed, layers, norms, imported)
            items[id(item)] = drop_casts(split_heads(changed, layers, norms, widths), layers)
    if rewriter.left:
        raise UnsupportedError(
            f"{node.name.value} calls {sorted(rewriter.left)[0]} in a form that is not followed",
            attentions[0].why.file,
            attentions[0].why.line,
        )
    body = [*init.body.body, *statements("".join(f"{line}\n" for line in rewriter.construction()))]
    items[id(init)] = init.with_changes(body=init.body.with_changes(body=body))
    members = [items.get(id(item), item) for item in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _method(item: cst.CSTNode) -> bool:
    return isinstance(item, cst.FunctionDef) and item.name.value != "__init__"


class _Attention(cst.CSTTransformer):
    def __init__(
        self, node: cst.ClassDef, plan: TransformerPlan, attentions: list[AttentionPlan], layer: str, masked: str
    ) -> None:
        self.cls = node.name.value
        self.linears = linears_of(plan, self.cls)
        self.sharded = any(d.subject == f"heads of {self.cls}" and d.value == "sharded" for d in plan.decisions)
        prefix = "attention call "
        kept = {d.subject for d in plan.decisions if d.subject.startswith(prefix) and d.value == "reference"}
        calls = [call for item in node.body.body if _method(item) for call in _calls(item)]
        replaced = [call for n, call in enumerate(calls, 1) if f"{prefix}{n} of {self.cls}" not in kept]
        names = _names(replaced, set(names_in(node)) - set(ATTENTION))
        masks = {call for call in replaced if _arguments(call).get("attn_mask", "None") != "None"}
        each = {call: (a, name) for call, a, name in zip(replaced, attentions, names, strict=True)}
        self.made = with_shared_layers(each, masks, set(names_in(node)))
        self.attention = attentions[0]
        self.whole = whole_heads(node, plan)
        self.layers = {name: masked if call in masks else layer for call, (_, name) in self.made.items()}
        heads = f"heads in {self.cls}."
        self.local = {
            d.subject.removeprefix(heads): str(d.value)
            for d in plan.decisions
            if d.subject.startswith(heads) and d.value != "own"
        }
        self.groups: dict[str, dict[str, str]] = {}  # fused -> shard -> attribute
        for path, linear in self.linears.items():
            if linear.fused is not None and linear.shard is not None:
                self.groups.setdefault(linear.fused, {})[linear.shard] = path
        self.left = {path for group in self.groups.values() for path in group.values()}

    def construction(self) -> list[str]:
        """The lines that make the layers, with the heads of this rank."""
        own = [f"self.{KEY_STREAMS} = {KEY_STREAMS}"] if self.attention.key_streams else []
        layers = {name: attention for attention, name in self.made.values()}
        return [*own, *(self._construction(attention, name) for name, attention in layers.items())]

    def _construction(self, attention: AttentionPlan, name: str) -> str:
        heads, kv_heads = attention.heads, attention.kv_heads
        main = next(iter(self.groups), None)
        if main is not None and len(self.layers) == 1:
            local, local_kv = f"self.{main}.num_heads", f"self.{main}.num_kv_heads"
        elif self.sharded:
            local, local_kv = (f"{n} // get_tensor_model_parallel_world_size()" for n in (heads, kv_heads))
        else:
            local, local_kv = heads, kv_heads
        cross = ', role="cross"' if attention.kind == "cross" else ""
        cross += ", skip_sequence_parallel=True" if attention.local else ""
        cross += f", skip_sequence_parallel=not {KEY_STREAMS}" if attention.key_streams else ""
        grouped = "" if heads == kv_heads else f"num_kv_heads={local_kv}, "
        return (
            f"self.{name} = {self.layers[name]}(num_heads={local}, head_size={attention.head_dim}, "
            f"softmax_scale={attention.softmax_scale}, causal={attention.causal}, {grouped}"
            f'prefix=f"{{prefix}}.{name}"{cross})'
        )

    # --------------------------------------------------------------------------------------------------------- the call
    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if original_node in self.made:
            name = dotted(original_node.func).rpartition(".")[2]
            plan, layer = self.made[original_node]
            return _layer_call(updated_node, layer, plan, heads_first=ATTENTION[name])
        return updated_node

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> bool:
        return code(node) not in self.whole

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        """A head count is that of the rank."""
        kind = self.local.get(self_attribute(original_node))
        layer = min((name for _, name in self.made.values()), key=len)  # the one without a suffix, if there is
        return updated_node if kind is None else expression(f"self.{layer}.{kind}")

    # -------------------------------------------------------------------------------------------------- the projections
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(updated_node.body)
        for fused, group in self.groups.items():
            body = self._fuse(body, fused, group)
        same = len(body) == len(updated_node.body) and all(map(operator.is_, body, updated_node.body))
        return updated_node if same else updated_node.with_changes(body=body)

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


def _calls(node: cst.CSTNode) -> list[cst.Call]:
    """The attention calls within ``node``, in the order of the source."""
    return [call for call in of_kind(node, cst.Call) if dotted(call.func).rpartition(".")[2] in ATTENTION]


def _arguments(call: cst.Call) -> dict[str, str]:
    """Query, key, value and mask of an attention call, as source text."""
    named = {arg.keyword.value: arg for arg in call.args if arg.keyword is not None}
    positional = dict(zip(_PARAMETERS, (arg for arg in call.args if arg.keyword is None), strict=False))
    return {name: code(arg.value) for name, arg in {**positional, **named}.items() if name in _PARAMETERS}


def _layer_call(call: cst.Call, name: str, plan: AttentionPlan, *, heads_first: bool) -> cst.BaseExpression:
    """The call of the layer in place of ``call``; its keys are those of the plan's streams, which may be padded."""
    given = _arguments(call)
    turn = ".transpose(1, 2)" if heads_first else ""
    tensors = ", ".join(f"{_operand(given[part])}{turn}" if turn else given[part] for part in _PARAMETERS[:3])
    mask = given.get("attn_mask", "None")
    mask = f"{GATHER_KEYS}({mask})" if plan.own_mask else mask
    metadata = "" if mask == "None" else f", AttentionMetadata(attn_mask={mask})"
    if plan.streams or plan.key_streams:
        names = ", ".join(f'"{name}"' for name in plan.streams) or f"*self.{KEY_STREAMS}"
        key = f"{_operand(given['key'])}{turn}" if turn else given["key"]
        given_mask = "" if mask == "None" else f", mask={mask}"
        metadata = f", {METADATA}({key}, {names}{given_mask})"
    return expression(f"self.{name}({tensors}{metadata}){turn}")


def _operand(text: str) -> str:
    return text if isinstance(expression(text), cst.Name | cst.Attribute | cst.Call | cst.Subscript) else f"({text})"


def _names(calls: list[cst.Call], taken: set[str]) -> list[str]:
    """An attribute for the layer of each call: ``attn``, and ``attn_img`` for the one whose key is ``key_img``."""
    base = next(name for name in ("attn", "attention", "attn_layer", "omni_attn") if name not in taken)
    suffixes = [_KEY.sub("", _arguments(call).get("key", "")) for call in calls]
    if len(calls) == 1:
        return [base]
    if len(set(suffixes)) < len(calls) or not all(
        s == "" or (s.startswith("_") and s[1:].isidentifier()) for s in suffixes
    ):
        suffixes = ["", *(f"_{number}" for number in range(2, len(calls) + 1))]
    return [base + suffix for suffix in suffixes]
