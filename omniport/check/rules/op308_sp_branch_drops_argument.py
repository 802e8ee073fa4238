"""OP308: the branch for sequence parallelism leaves out a mask or a cache that the other branch uses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attention_layers
from omniport.check.port import Port
from omniport.check.source import SourceFile, dotted, method, parameters

_SWITCH = re.compile(r"(^|_)(u?sp|ulysses|ring|sequence_parallel)(_|$)")
_CARRIED = re.compile(r"mask$|^kv_cache|_kv_cache$")


class SpBranchDropsArgument(Rule):
    """The branch for sequence parallelism leaves out a mask or a cache that the other branch uses.

    ``forward`` of an attention has an ``if`` that asks for sequence parallelism, both branches call the attention
    layer, and a parameter that is a mask or a cache is read in the other branch and nowhere else.

    Why: with two ranks padding is attended to, or the tokens of an edited image are missing: another image than on
    one rank, and no error.  The SP branch of GLM-Image's attention in vllm-omni 0.30.0 ignores ``attention_mask`` and
    ``kv_cache``.

    Fix: use the argument in both branches, or refuse it with an error where sequence parallelism is on.
    """

    code = "OP308"
    name = "sp-branch-drops-argument"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Attn:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, softmax_scale=1.0, causal=False)
            def forward(self, q, k, v, attention_mask=None):
                metadata = AttentionMetadata(attn_mask=attention_mask)
                if use_sp:
                    out = self.attn(q, k, v, metadata)
                else:
                    out = self.attn(q.contiguous(), k, v, metadata)
                return out
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Attn:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, softmax_scale=1.0, causal=False)
            def forward(self, q, k, v, hidden_states_mask=None):
                if use_sp:
                    out = self.attn(q, k, v, AttentionMetadata(attn_mask=hidden_states_mask))
                else:
                    out = self.attn(q, k, v)
                return out
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Attn:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, softmax_scale=1.0, causal=False)
            def forward(self, q, k, v, attention_mask=None):
                if use_sp:
                    out = self.attn(q, k, v)
                else:
                    out = self.attn(q, k, v, AttentionMetadata(attn_mask=attention_mask))
                return out
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class Attn:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, softmax_scale=1.0, causal=False)
            def forward(self, q, k, v, kv_cache=None):
                if self.sp_size > 1:
                    out = self.attn(q, k, v)
                else:
                    if kv_cache is not None:
                        k, v = kv_cache.join(k, v)
                    out = self.attn(q, k, v)
                return out
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("mask") and not file.mentions("kv_cache"):
                continue
            for cls in file.nodes(ast.ClassDef):
                forward = method(cls, "forward")
                carried = {name for name in parameters(forward) if _CARRIED.search(name)}
                if forward is None or not carried:
                    continue
                attentions = {f"self.{name}" for name in attention_layers(file, cls)}
                for branch in file.nodes(ast.If, within=forward) if attentions else ():
                    if not branch.orelse or not _asks_for_sp(file, branch.test):
                        continue
                    if not all(_calls(file, part, attentions) for part in (branch.body, branch.orelse)):
                        continue
                    read = {n: list(_places(file, forward, n)) for n in sorted(carried)}
                    lost = [n for n, p in read.items() if p and all(_inside(file, x, branch.orelse) for x in p)]
                    if lost:
                        message = f"used without sequence parallelism only, and dropped with it: {', '.join(lost)}"
                        yield self.at(file, branch, message)


def _asks_for_sp(file: SourceFile, test: ast.expr) -> bool:
    names = [
        n.id if isinstance(n, ast.Name) else n.attr for n in file.walk(test) if isinstance(n, ast.Name | ast.Attribute)
    ]
    return any(_SWITCH.search(name) for name in names) and not any(isinstance(n, ast.Not) for n in file.walk(test))


def _calls(file: SourceFile, body: list[ast.stmt], attentions: set[str]) -> bool:
    return any(dotted(call.func) in attentions for s in body for call in file.nodes(ast.Call, within=s))


def _places(file: SourceFile, forward: ast.AST, name: str) -> Iterator[ast.Name]:
    """Where a parameter is read."""
    return (n for n in file.nodes(ast.Name, within=forward) if n.id == name and isinstance(n.ctx, ast.Load))


def _inside(file: SourceFile, node: ast.AST, body: list[ast.stmt]) -> bool:
    return any(parent in body for parent in (node, *file.parents(node)))
