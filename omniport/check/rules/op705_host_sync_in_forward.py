"""OP705: each step waits for the device in the middle of a transformer."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, dotted, keyword, method, walk

_PLATFORM = re.compile(r"npu|xpu|rocm|platform")
_SYNCS = frozenset({"cpu", "item", "nonzero", "numpy", "tolist"})


class HostSyncInForward(Rule):
    """Each step waits for the device in the middle of a transformer.

    ``forward`` of a transformer, or of a class that it repeats, calls ``.item()``, ``.tolist()``, ``.cpu()``,
    ``.numpy()`` or ``.nonzero()``, or branches on ``.all()`` or ``.any()`` of a tensor.

    Why: the host stops until the device has caught up, in every step and block, and torch.compile breaks the graph
    there.  HunyuanVideo 1.5 (three per step), Qwen-Image, ERNIE-Image and HiDream of vllm-omni 0.30.0 do it; #4053
    removed one.

    Fix: compute the number once per request on the host, in the pipeline, and pass it as a Python value.
    """

    code = "OP705"
    name = "host-sync-in-forward"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x, text_len: int):
                return x[:, :text_len]
        """,
        """
        class TextEncoder(nn.Module):
            def forward(self, x, lengths):
                return x[:, : lengths.max().item()]
        """,
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x):
                lengths = torch.tensor([part.size(1) for part in x])
                return x[:, : lengths.max().item()]
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x, lengths):
                return x[:, : lengths.max().item()]
        """,
        """
        class Block(nn.Module):
            def forward(self, x, mask):
                return x if mask.all() else x * mask
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def forward(self, x, mask):
                return self.blocks[0](x, mask)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls in (*port.transformers, *port.repeated_blocks):
            forward = method(cls, "forward")
            for node in file.nodes(ast.Call, within=forward) if forward is not None else ():
                if not isinstance(node.func, ast.Attribute) or node.keywords or _for_a_platform(file, node):
                    continue
                name = node.func.attr
                if name in _SYNCS and not node.args and not _on_host(file, node.func.value) and not _again(file, node):
                    yield self.at(file, node, f".{name}() in {cls.name}.forward waits for the device in every step")
                elif name in ("all", "any") and not node.args and _decides(file, node):
                    yield self.at(file, node, f"branching on .{name}() in {cls.name}.forward waits for the device")


def _again(file: SourceFile, node: ast.Call) -> bool:
    """Whether another of these methods follows: ``x.cpu().tolist()`` waits once."""
    parent = file.parent(node)
    return isinstance(parent, ast.Attribute) and parent.attr in _SYNCS


def _for_a_platform(file: SourceFile, node: ast.AST) -> bool:
    """Whether an ``if`` around a node asks for a platform: what is slow there may be the only way there."""
    tests = (ast.unparse(parent.test) for parent in file.parents(node) if isinstance(parent, ast.If))
    return any(_PLATFORM.search(test) for test in tests)


def _on_host(file: SourceFile, node: ast.expr) -> bool:
    """Whether a value is surely no tensor of the device: a shape or size, text, or made from a list of numbers."""
    if isinstance(node, ast.Call) and dotted(node.func).startswith(("np.", "math.")):
        return True
    return any(isinstance(n, ast.Attribute) and n.attr in ("shape", "size") for n in walk(node)) or _made_here(
        file, node
    )


def _made_here(file: SourceFile, node: ast.expr) -> bool:
    """Whether a value is part of what ``torch.tensor([...])`` made last, which is the host's without a device."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    function = file.enclosing_function(node)
    if not isinstance(node, ast.Name) or function is None:
        return False
    made = [
        assign.value
        for assign in file.nodes(ast.Assign, within=function)
        if assign.lineno < node.lineno and any(isinstance(t, ast.Name) and t.id == node.id for t in assign.targets)
    ]
    last = max(made, key=lambda value: value.lineno, default=None)
    return (
        isinstance(last, ast.Call)
        and dotted(last.func) == "torch.tensor"
        and keyword(last, "device") is None
        and isinstance(last.args[0] if last.args else None, ast.List | ast.ListComp | ast.Tuple | ast.Constant)
    )


def _decides(file: SourceFile, node: ast.AST) -> bool:
    """Whether an ``if`` hangs on a value, directly or through ``not``, ``and``, ``or``."""
    child = node
    for parent in file.parents(node):
        if isinstance(parent, ast.If | ast.IfExp):
            return parent.test is child
        if not isinstance(parent, ast.UnaryOp | ast.BoolOp):
            return False
        child = parent
    return False
