"""OP802: the attention layer is given tensors with heads before tokens."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attention_layers
from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, constant, dotted, method, walk

#: methods that split the width into heads, or hand on a tensor whose order is that of their own
_SPLITS = frozenset({"reshape", "unflatten", "view"})
_KEEP = frozenset({"chunk", "contiguous", "float", "to", "type_as"})


class HeadsBeforeTokens(Rule):
    """The attention layer is given tensors with heads before tokens.

    Query, key or value of a call of ``Attention`` was split into heads and then transposed, as
    ``F.scaled_dot_product_attention`` wants it, and not transposed back.

    Why: the layer takes ``[batch, tokens, heads, head_dim]`` in every release.  With heads first it attends over the
    heads of one token: no error, since both are four-dimensional, and an image of noise.  Upstream #2572 and #4010
    corrected layouts after the merge.

    Fix: leave the ``transpose(1, 2)`` out, and the one behind the call too.
    """

    code = "OP802"
    name = "heads-before-tokens"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x):
                q = self.to_q(x).unflatten(-1, (4, 16))
                return self.attn(q, q, q)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x):
                q = self.to_q(x).unflatten(-1, (4, 16)).transpose(1, 2)
                q = apply_rotary_emb(q)
                q = q.transpose(1, 2)
                return self.attn(q, q, q)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x):
                q = self.to_q(x).view(1, -1, 4, 16).transpose(1, 2)
                q = self.norm_q(q)
                return self.attn(q, q, q).transpose(1, 2)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x, tables):
                q = self.to_q(x).view(1, -1, 4, 16).transpose(1, 2)
                k = self.to_k(x).view(1, -1, 4, 16)
                q, k = rotate(q, k, tables)
                return self.attn(q, k, k)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x):
                q, k, v = self.to_qkv(x).unflatten(-1, (12, 16)).chunk(3, dim=2)
                return self.attn(q, k, v.permute(0, 2, 1, 3))
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("diffusion.attention.layer"):
                continue
            for cls in file.nodes(ast.ClassDef):
                names = {f"self.{name}" for name in attention_layers(file, cls)}
                forward = method(cls, "forward") if names else None
                for call in file.nodes(ast.Call, within=forward) if forward is not None else ():
                    if dotted(call.func) not in names:
                        continue
                    given = [*call.args[:3], *(k.value for k in call.keywords if k.arg in ("query", "key", "value"))]
                    if forward is not None and any(_swapped(file, forward, call, node) for node in given):
                        yield self.at(file, call, "heads come before tokens here; the layer takes [B, S, H, D]")


def _swapped(file: SourceFile, forward: Function, call: ast.Call, node: ast.expr) -> bool:
    """Whether a tensor surely holds heads before tokens where it is given to the layer."""
    order: dict[str, bool] = {}  # variable -> whether heads come first; those not known are missing
    for statement in file.nodes(ast.Assign, within=forward):
        if statement.lineno >= call.lineno:
            break
        if _in_place(statement):
            continue
        first = _heads_first(statement.value, order)
        for target in statement.targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if first is None:
                    order.pop(dotted(name), None)
                else:
                    order[dotted(name)] = first
    return _heads_first(node, order) is True


def _in_place(statement: ast.Assign) -> bool:
    """``q, k = rotate(q, k, ...)``: each tensor keeps the order it had."""
    target, call = statement.targets[0], statement.value
    if not isinstance(target, ast.Tuple) or not isinstance(call, ast.Call) or isinstance(call.func, ast.Attribute):
        return False
    return [dotted(n) for n in target.elts] == [dotted(n) for n in call.args[: len(target.elts)]]


def _heads_first(node: ast.expr, order: dict[str, bool]) -> bool | None:
    """Whether an expression holds heads before tokens; None where that cannot be said.

    Splitting the last dimension puts tokens first, swapping dimensions 1 and 2 turns the order round, and whatever
    else is computed from one known variable keeps it.
    """
    if isinstance(node, ast.Name):
        return order.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if _swap(node):
            before = _heads_first(node.func.value, order)
            return None if before is None else not before
        if node.func.attr in _SPLITS:
            return False if len(node.args) >= 2 or node.func.attr == "unflatten" else None
        if node.func.attr in _KEEP:
            return _heads_first(node.func.value, order)
    known = {order.get(n.id) for n in _names(node)} - {None}
    return known.pop() if isinstance(node, ast.Call) and len(known) == 1 else None


def _swap(node: ast.expr) -> bool:
    """``x.transpose(1, 2)`` or ``x.permute(0, 2, 1, 3)``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    numbers = [constant(a) for a in node.args]
    return (node.func.attr, numbers) in (("transpose", [1, 2]), ("permute", [0, 2, 1, 3]))


def _names(node: ast.expr) -> list[ast.Name]:
    """The variables that an expression is made from."""
    return [n for n in walk(node) if isinstance(n, ast.Name)]
