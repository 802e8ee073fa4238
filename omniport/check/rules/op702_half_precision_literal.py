"""OP702: a half-precision type is written into the port."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, dotted, last_name

_HALF = frozenset({"torch.bfloat16", "torch.float16", "torch.half"})
_ASKS = re.compile(r"dtype|precision|bf16|bfloat16")
_TAKERS = frozenset({"dtype", "torch_dtype"})


class HalfPrecisionLiteral(Rule):
    """A half-precision type is written into the port.

    ``torch.bfloat16`` or ``torch.float16`` is given as ``dtype=`` or ``torch_dtype=`` in code that does not ask for the
    type or the device first.  Autocast and a plain ``x.to(torch.bfloat16)`` are not meant: the reference may round so.

    Why: the user chooses the type (``od_config.dtype``); a literal casts a model that runs in fp32 or fp16 down, or
    mixes types where the device has no bf16.  #3876, #1915 and #5837 took such literals out of merged ports.

    Fix: ``od_config.dtype``, or the type of the tensor at hand.
    """

    code = "OP702"
    name = "half-precision-literal"
    VALID = (
        """
        def load(self, od_config):
            self.vae = AutoencoderKL.from_pretrained(od_config.model, torch_dtype=od_config.dtype)
        """,
        """
        def run(self, x):
            if x.dtype == torch.float16:
                return x.to(torch.float16).clip(-65504, 65504)
        """,
        """
        def tables(self):
            return torch.arange(4, dtype=torch.float32)
        """,
    )
    INVALID = (
        """
        def load(self, od_config):
            self.vae = AutoencoderKL.from_pretrained(od_config.model, torch_dtype=torch.bfloat16)
        """,
        """
        def run(self, x):
            return self.model(x.to(dtype=torch.bfloat16))
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not any(file.mentions(name) for name in _HALF):
                continue
            for call in file.nodes(ast.Call):
                if "autocast" in last_name(call.func):
                    continue
                for value in [k.value for k in call.keywords if k.arg in _TAKERS]:
                    if dotted(value) in _HALF and not _asked(file, call):
                        yield self.at(file, value, f"{dotted(value)} whatever the user chose; use od_config.dtype")


def _asked(file: SourceFile, node: ast.AST) -> bool:
    """Whether the function around a node branches on a type or precision, or asks for the platform."""
    function = file.enclosing_function(node)
    if function is None:
        return True
    for inner in file.walk(function):
        if isinstance(inner, ast.If | ast.IfExp) and _ASKS.search(ast.unparse(inner.test)):
            return True
        if isinstance(inner, ast.Attribute) and inner.attr in ("is_bf16_supported", "is_available"):
            return True
    return False
