"""OP808: the attention layer is given a mask that flash attention does not take."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attention_layers, layers, module_list
from omniport.check.port import ATTENTION, Port
from omniport.check.source import Function, SourceFile, constant, dotted, keyword, last_name, method, parameters

#: methods that hand a mask on with its axes
_KEEP = frozenset({"bool", "clone", "contiguous", "expand", "float", "repeat", "to", "type", "type_as"})
#: conditions that may choose between backends
_CHOOSES = re.compile(r"backend|sdpa|flash|platform|cuda|npu|is_\w+pu\b|impl", re.IGNORECASE)
_MINIMUM = re.compile(
    r"torch\.finfo\(.*\)\.min|float\(['\"]-inf['\"]\)|-float\(['\"]inf['\"]\)|-(torch|math)\.inf|-\d[\d._e+]*"
)


class MaskNotOverKeys(Rule):
    """The attention layer is given a mask that flash attention does not take.

    The mask of a call of ``Attention`` gets axes for heads and queries, or is made a bias that is added to the scores,
    and the file shows where: in the function that calls the layer, or in one that gives it the mask.

    Why: flash attention, the default backend on CUDA in vllm-omni 0.30.0, takes masks over keys alone: boolean,
    ``[batch, keys]``, True where a key is kept.  It negates the mask with ``~``, which fails for floats, and asserts
    two axes.  On the CPU and under SDPA all is well, so that tests do not show it.  The layer's other backends add the
    axes themselves; #2572 and #4010 mended masks after the merge.

    Fix: hand on the boolean mask as it is.  One that differs from query to query needs a subclass of ``Attention``
    that overrides ``_run_local_attention`` to call ``sdpa_fallback``, as vLLM-Omni's own LTX-2 does.
    """

    code = "OP808"
    name = "mask-not-over-keys"
    VALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, attention_mask=None):
                return self.attn(q, k, v, AttentionMetadata(attn_mask=attention_mask))
        class Block:
            def __init__(self):
                self.attention = SelfAttention()
            def forward(self, x, attention_mask):
                return self.attention(x, x, x, attention_mask=attention_mask.bool())
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class MaskedAttention(Attention):
            def _run_local_attention(self, query, key, value, attn_metadata):
                return self.sdpa_fallback.forward(query, key, value, attn_metadata)
        class SelfAttention:
            def __init__(self):
                self.attn = MaskedAttention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, mask):
                mask = (1 - mask.to(q.dtype)) * -10000.0
                return self.attn(q, k, v, AttentionMetadata(attn_mask=mask[:, None, None, :]))
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, mask):
                if self.attn.attn_backend.get_name() == "SDPA":
                    mask = mask[:, None, None, :]
                return self.attn(q, k, v, AttentionMetadata(attn_mask=mask))
        """,
    )
    INVALID = (
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, mask=None):
                if mask is not None:
                    mask = mask[:, None, None, :]
                return self.attn(q, k, v, AttentionMetadata(attn_mask=mask))
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, attention_mask):
                metadata = AttentionMetadata(attn_mask=attention_mask) if attention_mask is not None else None
                return self.attn(q, k, v, attn_metadata=metadata)
        class Block:
            def __init__(self):
                self.attention = SelfAttention()
            def forward(self, x, mask):
                return self.attention(x, x, x, attention_mask=mask)
        class Model:
            def __init__(self, depth):
                self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            def forward(self, x, mask):
                mask = (1 - mask.to(x.dtype)) * -10000.0
                for block in self.blocks:
                    x = block(x, mask)
                return x
        """,
        """
        from vllm_omni.diffusion.attention.layer import Attention
        class SelfAttention:
            def __init__(self):
                self.attn = Attention(num_heads=4, head_size=16, causal=False, softmax_scale=0.25)
            def forward(self, q, k, v, mask):
                mask = mask.bool().unsqueeze(1).unsqueeze(1)
                return self.attn(q, k, v, AttentionMetadata(attn_mask=mask.to(q.device)))
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions(ATTENTION.rpartition(".")[0]):
                continue
            found: dict[ast.expr, str] = {}
            for cls in file.nodes(ast.ClassDef):
                held = {f"self.{n}" for n, c in attention_layers(file, cls).items() if not _own_kernel(c)}
                for call in file.nodes(ast.Call, within=cls) if held else ():
                    function = file.enclosing_function(call)
                    if function is None or dotted(call.func) not in held or _chosen(file, call, function):
                        continue
                    for mask in _masks(file, function, call):
                        found.update(_Reader(file).made(mask, function, call))
            for node, what in found.items():
                yield self.at(file, node, f"{what}; flash attention takes boolean masks [batch, keys] alone")


def _own_kernel(call: ast.Call) -> bool:
    """Whether a layer is given a kernel of the model's own."""
    return any(k.arg in (None, "custom_attention", "impl_overrides") for k in call.keywords)


def _chosen(file: SourceFile, node: ast.AST, function: Function) -> bool:
    """Whether a condition around a node may tell of the backend."""
    for parent in file.parents(node):
        if parent is function:
            return False
        if isinstance(parent, ast.If | ast.IfExp) and _CHOOSES.search(ast.unparse(parent.test)):
            return True
    return True


def _masks(file: SourceFile, function: Function, call: ast.Call) -> Iterator[ast.expr]:
    """The masks in the metadata that a call gives to the layer."""
    metadata = keyword(call, "attn_metadata") or (call.args[3] if len(call.args) > 3 else None)
    given = [metadata] if metadata is not None else []
    if isinstance(metadata, ast.Name):
        given = [
            n.value for n in file.nodes(ast.Assign, within=function) if [dotted(t) for t in n.targets] == [metadata.id]
        ]
    for value in given:
        value = value.body if isinstance(value, ast.IfExp) else value
        if isinstance(value, ast.Call) and last_name(value.func) == "AttentionMetadata":
            mask = keyword(value, "attn_mask")
            if mask is not None:
                yield mask


class _Reader:
    """Looks for where a mask gets its form: back through variables, and through calls of the class's forward."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.seen: set[tuple[str, str]] = set()

    def made(self, node: ast.expr, function: Function, use: ast.AST) -> Iterator[tuple[ast.expr, str]]:
        """Expressions that give the mask ``node``, which ``use`` reads, a form of its own; each with what it does."""
        if isinstance(node, ast.IfExp):
            node = node.body
        if what := _form(node):
            yield node, what
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _KEEP:
            yield from self.made(node.func.value, function, use)
        elif isinstance(node, ast.Name):
            yield from self.variable(node.id, function, use)

    def variable(self, name: str, function: Function, use: ast.AST) -> Iterator[tuple[ast.expr, str]]:
        stores = [
            n for n in self.file.nodes(ast.Name, within=function) if n.id == name and isinstance(n.ctx, ast.Store)
        ]
        before = [n for n in stores if n.lineno < use.lineno]  # type: ignore[attr-defined]
        if not before:
            if not stores:
                yield from self.given(name, function)
            return
        last = self.file.parent(before[-1])
        if isinstance(last, ast.Assign) and last.targets == [before[-1]] and not self.apart(last, function, use):
            yield from self.made(last.value, function, last)

    def apart(self, statement: ast.stmt, function: Function, use: ast.AST) -> bool:
        """Whether a statement may be passed over on the way to ``use``, but for a question whether there is a mask."""
        around = set(self.file.parents(use))
        for parent in self.file.parents(statement):
            if parent is function:
                return False
            if parent in around:
                continue
            if not isinstance(parent, ast.If) or not _ASKS.fullmatch(ast.unparse(parent.test)):
                return True
        return True

    def given(self, name: str, function: Function) -> Iterator[tuple[ast.expr, str]]:
        """The same of what a class's forward is given for a parameter by the classes of the file."""
        cls = self.file.enclosing_class(function)
        if cls is None or function is not method(cls, "forward") or (cls.name, name) in self.seen:
            return
        self.seen.add((cls.name, name))
        names = parameters(function)
        place = names.index(name) - 1 if name in names else -1
        for user in self.file.nodes(ast.ClassDef):
            for call in self.calls_of(cls.name, user):
                value = keyword(call, name) or (call.args[place] if 0 <= place < len(call.args) else None)
                caller = self.file.enclosing_function(call)
                if any(isinstance(a, ast.Starred) for a in call.args) or value is None or caller is None:
                    continue
                if not _chosen(self.file, call, caller):
                    yield from self.made(value, caller, call)

    def calls_of(self, name: str, user: ast.ClassDef) -> Iterator[ast.Call]:
        """Calls in a class of what it holds of the class ``name``: an attribute, or each block of a list."""
        held = set()
        for attribute, call in layers(user):
            element = module_list(call)
            if last_name(call.func) == name or (element is not None and last_name(element.func) == name):
                held.add(f"self.{attribute}")
        if not held:
            return
        for loop in self.file.nodes(ast.For, within=user):
            over, target = loop.iter, loop.target
            if isinstance(over, ast.Call) and last_name(over.func) == "enumerate" and over.args:
                over = over.args[0]
                target = target.elts[1] if isinstance(target, ast.Tuple) and len(target.elts) == 2 else target
            over = over.value if isinstance(over, ast.Subscript) else over
            if dotted(over) in held and isinstance(target, ast.Name):
                yield from (c for c in self.file.nodes(ast.Call, within=loop) if dotted(c.func) == target.id)
        yield from (c for c in self.file.nodes(ast.Call, within=user) if dotted(c.func) in held)


_ASKS = re.compile(r"\w+ is not None( and \w+\.(ndim|dim\(\)) == [23])?|\w+\.(ndim|dim\(\)) == [23]")


def _form(node: ast.expr) -> str:
    """What an expression does to a mask that flash attention does not take; empty if nothing is seen."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        parts = [ast.unparse(part) for part in node.slice.elts]
        if parts.count("None") == 2 and all(part in (":", "None", "...", "Ellipsis") for part in parts):
            return "the mask gets axes for heads and queries"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner = node.func.value
        if node.func.attr == "unsqueeze" and isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            return "the mask gets axes for heads and queries" if inner.func.attr == "unsqueeze" else ""
        if node.func.attr in ("view", "reshape") and len(node.args) == 4:
            ones = [constant(argument) for argument in node.args[1:3]]
            return "the mask gets axes for heads and queries" if ones == [1, 1] else ""
        if node.func.attr == "masked_fill" and len(node.args) == 2 and _MINIMUM.fullmatch(ast.unparse(node.args[1])):
            return "the mask is made a bias"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        kept, low = (node.left, node.right) if isinstance(node.left, ast.BinOp) else (node.right, node.left)
        inverts = isinstance(kept, ast.BinOp) and isinstance(kept.op, ast.Sub) and constant(kept.left) == 1
        if inverts and _MINIMUM.fullmatch(ast.unparse(low)):
            return "the mask is made a bias"
    return ""
