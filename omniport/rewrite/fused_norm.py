"""diffusers' ``RMSNorm`` of blocks, captions and outputs runs in one kernel in place of five.

With a weight it rounds twice, the normalised value and the product, both to the weight's precision: so does vLLM's
kernel, which takes an input of that precision only.  For any other input, of which diffusers' norm returns the weight's
precision, the port calls diffusers' own.  Without a weight it rounds once, to the input's precision, as torch's
``rms_norm`` does.  Compilers do not look into vLLM's kernel and get diffusers' operations.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.syntax import code, variables
from omniport.source.transform import transform

#: The class in a port.
CLASS = "FusedRMSNorm"

_DIFFUSERS = "diffusers.models.normalization.RMSNorm"

_HEAD = '''

class FusedRMSNorm({base}):
    """diffusers' RMS norm, in one kernel{where}."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
'''

_WHERE = " where input and weight have one precision"

_PLAIN = "return F.rms_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps)\n"

_KERNEL = """\
        if not hidden_states.is_cuda or hidden_states.dtype != self.weight.dtype or torch.compiler.is_compiling():
            return super().forward(hidden_states)
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        normed = torch.empty_like(rows, memory_format=torch.contiguous_format)
        fused_rms_norm(normed, rows, self.weight, self.eps)
        return normed.view(hidden_states.shape)
"""

#: Whether norms have a weight, and whether some have none -> the class.
HELPERS = {
    (True, False): _HEAD.replace("{where}", _WHERE) + _KERNEL,
    (False, True): _HEAD.replace("{where}", "") + "        " + _PLAIN,
    (True, True): _HEAD.replace("{where}", _WHERE) + "        if self.weight is None:\n            " + _PLAIN + _KERNEL,
}

#: What the norm's parameters are called, in their order.
_PARAMETERS = ("dim", "eps", "elementwise_affine", "bias")


def fuse_norms(module: cst.Module, imported: Mapping[str, str]) -> tuple[cst.Module, str]:
    """``module`` with diffusers' RMS norms made by a class of the port, and that class.

    Without such a norm the same object, and no class.
    """
    names = {name for name, meant in imported.items() if meant == _DIFFUSERS}
    classes = [item for item in module.body if isinstance(item, cst.ClassDef)]
    taken = {item.name.value for item in classes} | set(imported)
    if len(names) != 1 or CLASS in taken or not any(names & set(variables(item)) for item in classes):
        return module, ""
    (name,) = names
    fuse = _Fuse(name)
    body = [transform(item, fuse) if isinstance(item, cst.ClassDef) else item for item in module.body]
    if not fuse.weights:
        return module, ""
    helper = HELPERS[True in fuse.weights or None in fuse.weights, False in fuse.weights or None in fuse.weights]
    return module.with_changes(body=body), helper.replace("{base}", name)


class _Fuse(cst.CSTTransformer):
    def __init__(self, name: str) -> None:
        self.name = name
        self.weights: set[bool | None] = set()  # whether a norm has a weight, None where an argument decides

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if not isinstance(updated_node.func, cst.Name) or updated_node.func.value != self.name:
            return updated_node
        given = _given(updated_node)
        if given is None or given.get("bias", "False") != "False":
            return updated_node
        self.weights.add({"True": True, "False": False}.get(given.get("elementwise_affine", "True")))
        return updated_node.with_changes(func=cst.Name(CLASS))


def _given(call: cst.Call) -> dict[str, str] | None:
    """Parameter -> argument, None if a star hides some."""
    if any(arg.star for arg in call.args) or len(call.args) > len(_PARAMETERS):
        return None
    return {arg.keyword.value if arg.keyword else _PARAMETERS[i]: code(arg.value) for i, arg in enumerate(call.args)}
