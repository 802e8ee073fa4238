"""``nn.LayerNorm(dim, 1e-6, False)`` names what it is given: ``nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)``.

Source: the constructors of ``torch.nn`` and ``diffusers.models.normalization``, whose ``LayerNorm`` is torch's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.syntax import dotted, expression, method
from omniport.source.syntax import constant
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_LAYER = (("eps", ...), ("elementwise_affine", True), ("bias", True))
_RMS = (("eps", ...), ("elementwise_affine", True), ("bias", False))
#: Class -> its parameters behind the width, and the values that need not be given.
PARAMETERS: dict[str, tuple[tuple[str, object], ...]] = {
    "torch.nn.LayerNorm": _LAYER,
    "torch.nn.RMSNorm": _RMS[:2],
    "diffusers.models.normalization.FP32LayerNorm": _LAYER,
    "diffusers.models.normalization.LayerNorm": _LAYER,
    "diffusers.models.normalization.MochiRMSNorm": _RMS[:2],
    "diffusers.models.normalization.RMSNorm": _RMS,
}
_SAME = "diffusers.models.normalization.LayerNorm"


def name_norm_arguments(module: cst.Module, imported: Mapping[str, str]) -> cst.Module:
    """``module`` with named arguments of such norms.

    Args:
        imported: name -> what it is imported from, with its name there.
    """
    known = {name: PARAMETERS[source] for name, source in imported.items() if source in PARAMETERS}
    known |= {f"nn.{path[9:]}": spec for path, spec in PARAMETERS.items() if path.startswith("torch.nn.")}
    same = {name for name, source in imported.items() if source == _SAME}
    body = []
    for node in module.body:
        init = method(node, "__init__") if isinstance(node, cst.ClassDef) else None
        if init is not None and any(dotted(call.func) in known for call in of_kind(init, cst.Call)):
            assert isinstance(node, cst.ClassDef)
            new = transform(init, _Name(known, same))
            items = [new if item is init else item for item in node.body.body]
            node = node.with_changes(body=node.body.with_changes(body=items))
        body.append(node)
    return module.with_changes(body=body)


class _Name(cst.CSTTransformer):
    def __init__(self, known: Mapping[str, tuple[tuple[str, object], ...]], same: set[str]) -> None:
        self.known, self.same = known, same

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        name = dotted(original_node.func)
        if name not in self.known or any(arg.star for arg in updated_node.args):
            return updated_node
        spec = dict(self.known[name])
        args: list[cst.Arg] = []
        for at, arg in enumerate(updated_node.args):
            if arg.keyword is None and 0 < at <= len(spec):
                arg = arg.with_changes(keyword=cst.Name(list(spec)[at - 1]), equal=_EQUAL)
            default = spec.get(arg.keyword.value, ...) if arg.keyword is not None else ...
            if default is ... or constant(arg.value) is not default:
                args.append(arg)
        if args:
            args[-1] = args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        func = expression("nn.LayerNorm") if name in self.same else updated_node.func
        return updated_node.with_changes(func=func, args=args)


_EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
