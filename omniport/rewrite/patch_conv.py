"""Convolutions of patches become vLLM's ``Conv3dLayer``, which computes them as one matrix product.

A convolution whose stride is its kernel reads every value once; cuDNN converts the layout of its input and of its
output.  Parameters have the same names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

LAYER = "Conv3dLayer"
_CONV = "torch.nn.Conv3d"
_TAKEN = frozenset({"in_channels", "out_channels", "kernel_size", "stride", "bias"})


def patch_convolutions(module: cst.Module, imported: Mapping[str, str]) -> cst.Module:
    """``module`` with such convolutions replaced; the same object if there is none."""
    if not any(_meant(call, imported) == _CONV for call in of_kind(module, cst.Call)):
        return module
    made = transform(module, _Replace(imported))
    assert isinstance(made, cst.Module)
    return made


def _meant(call: cst.Call, imported: Mapping[str, str]) -> str:
    """The full name of what is called."""
    first, _, rest = dotted(call.func).partition(".")
    return ".".join(filter(None, (imported.get(first, first), rest)))


class _Replace(cst.CSTTransformer):
    def __init__(self, imported: Mapping[str, str]) -> None:
        self.imported = imported

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if _meant(updated_node, self.imported) != _CONV:
            return updated_node
        named = {arg.keyword.value: code(arg.value) for arg in updated_node.args if arg.keyword is not None}
        kernel, plain = named.get("kernel_size"), not any(arg.star for arg in updated_node.args)
        positional = sum(arg.keyword is None for arg in updated_node.args)
        if kernel is None or named.get("stride") != kernel or not set(named) <= _TAKEN or not plain or positional > 2:
            return updated_node
        return updated_node.with_changes(func=cst.Name(LAYER))
