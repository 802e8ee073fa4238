"""OP707: a norm adds one to its weight before the weight is in float32."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, dotted, last_name


class NormOffsetInModelDtype(Rule):
    """A norm adds one to its weight before the weight is in float32.

    ``forward`` of a class casts its input to float32 and computes ``self.weight + 1`` of the weight as it is, and the
    port keeps no module in float32.

    Why: a weight around zero is stored with an offset just because it is small; in bfloat16 the sum keeps 8 bits of
    which one is the 1, so most of what was learned is rounded away, in every norm.  Krea 2 of vllm-omni 0.30.0 adds in
    bfloat16, where the reference keeps these norms in float32 (``_keep_in_fp32_modules``).

    Fix: ``1.0 + self.weight.float()``, or keep the module in float32.
    """

    code = "OP707"
    name = "norm-offset-in-model-dtype"
    VALID = (
        """
        class Norm(nn.Module):
            def forward(self, x):
                return F.rms_norm(x.float(), (64,), weight=self.weight.float() + 1.0).to(x.dtype)
        """,
        """
        class Norm(nn.Module):
            def forward(self, x):
                return F.rms_norm(x.float(), (64,), weight=self.weight + 1.0).to(x.dtype)
        class Model(nn.Module):
            def __init__(self):
                self.norm = Norm().to(torch.float32)
        """,
    )
    INVALID = (
        """
        class Norm(nn.Module):
            def forward(self, x):
                return F.rms_norm(x.float(), (64,), weight=self.weight + 1.0).to(x.dtype)
        """,
        """
        class Norm(nn.Module):
            def forward(self, x):
                x = x.to(torch.float32)
                return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)) * (1 + self.weight)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if any(_keeps(file) for file in port.files):
            return
        for file in port.files:
            if not file.mentions("self.weight"):
                continue
            for node in file.nodes(ast.BinOp):
                sides = (node.left, node.right)
                if not isinstance(node.op, ast.Add) or not any(dotted(side) == "self.weight" for side in sides):
                    continue
                function = file.enclosing_function(node)
                if any(constant(side) == 1 for side in sides) and function is not None and _upcasts(file, function):
                    yield self.at(file, node, "the sum is rounded to the weight's type, and then used in float32")


def _upcasts(file: SourceFile, function: ast.AST) -> bool:
    """Whether something is cast to float32."""
    for call in file.nodes(ast.Call, within=function):
        if last_name(call.func) == "float" and not call.args:
            return True
        if last_name(call.func) == "to" and any(dotted(a) == "torch.float32" for a in call.args):
            return True
    return False


def _keeps(file: SourceFile) -> bool:
    """Whether a module or parameters of the port are kept in float32."""
    if not file.mentions("float32"):
        return False
    for call in file.calls("to", "set_default_dtype", "set_default_torch_dtype"):
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        wanted = [*call.args, *(k.value for k in call.keywords)]
        if any(dotted(a) == "torch.float32" for a in wanted) and isinstance(owner, ast.Call):
            return True
    return False
