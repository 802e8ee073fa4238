"""OP803: an attention mask is accepted and not used."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import ATTENTION, Port
from omniport.check.source import Function, dotted, last_name, method, parameters, walk


class MaskDropped(Rule):
    """An attention mask is accepted and not used.

    ``forward`` of a class in a file that builds vLLM-Omni's attention has a parameter whose name holds ``mask``, does
    nothing with it but to reshape it, and some call of the port gives it.

    Why: padding of the shorter prompts of a batch is then attended to.  In Z-Image of vllm-omni 0.30.0 a negative
    prompt in another bucket of lengths than the positive one comes out 4.3e-2 off the reference (both models run in
    fp32), for its attention takes ``attention_mask`` and drops it; LongCat-Image and Stable Audio drop theirs too.
    Masks that did not reach the backend: #2572, #4010.

    Fix: hand it on as ``AttentionMetadata(attn_mask=mask)``, or take the parameter away, with what computes it.
    """

    code = "OP803"
    name = "mask-dropped"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, attention_mask=None):
                return self.attn(q, k, v, AttentionMetadata(attn_mask=attention_mask))
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, attention_mask=None):
                return self.attn(q, k, v)
        class Block:
            def forward(self, x):
                return self.attention(x, x, x)
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, attention_mask=None):
                return self.attn(q, k, v)
        class Block:
            def forward(self, x, mask):
                return self.attention(x, x, x, attention_mask=mask)
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, x, attention_mask):
                if attention_mask is not None:
                    attention_mask = attention_mask[:, None, None, :]
                return self.attn(x, x, x)
        class Block:
            def __init__(self):
                self.attention = SelfAttention()
            def forward(self, x, mask):
                return self.attention(x, mask)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if file.imports.get("Attention") != ATTENTION:
                continue
            for cls in file.nodes(ast.ClassDef):
                forward = method(cls, "forward")
                for name in parameters(forward):
                    if forward is not None and "mask" in name and not _used(forward, name) and _given(port, cls, name):
                        where = next(a for a in walk(forward.args) if isinstance(a, ast.arg) and a.arg == name)
                        yield self.at(file, where, f"{cls.name} takes {name} and drops it")


def _used(function: Function, name: str) -> bool:
    """Whether the body does anything with a parameter but to reshape it, or to ask whether it is there."""
    if all(isinstance(n, ast.Raise | ast.Pass | ast.Expr) for n in function.body):
        return True  # a method that others define
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Assign) and [dotted(t) for t in node.targets] == [name]:
            continue
        if isinstance(node, ast.If) and all(isinstance(n, ast.Assign) for n in node.body) and not node.orelse:
            pending += node.body
            continue
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            return True
        pending += ast.iter_child_nodes(node)
    return False


def _given(port: Port, cls: ast.ClassDef, name: str) -> bool:
    """Whether some call of the port gives the argument: by its name, or by place to an instance of the class."""
    place = parameters(method(cls, "forward")).index(name) - 1
    for file in port.files:
        for keyword in file.nodes(ast.keyword):
            if keyword.arg == name and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None):
                return True
        for user in file.nodes(ast.ClassDef):
            held = {f"self.{attribute}" for attribute, call in layers(user) if last_name(call.func) == cls.name}
            calls = file.nodes(ast.Call, within=user) if held else ()
            if any(dotted(call.func) in held and len(call.args) > place for call in calls):
                return True
    return False
