"""The norms of query and key become vLLM's RMS norm: one kernel, which reads slices of a fused projection in place.

``nn.RMSNorm`` copies such a slice first, and diffusers' ``RMSNorm`` is four kernels.  A norm without a weight or an
epsilon of its own stays, and so does one of another input: vLLM's layer returns the precision of its input, where
diffusers' returns that of the weight, and the two are the same behind a projection.

A compiler cannot look into that kernel, but fuses plain operations with what stands before and behind them: the norm is
a class of the port that gives it those (docs/performance.md has what that saves).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import assignments, code, dotted, method, self_attribute, single, variables
from omniport.source.transform import transform

#: The class in a port.
CLASS = "QKNorm"

NAME = "RMSNorm"

#: vLLM's layer in a port that uses the name for another.
ALIAS = "VllmRMSNorm"

_DIFFUSERS = "diffusers.models.normalization.RMSNorm"
_REPLACED = ("torch.nn.RMSNorm", _DIFFUSERS)

HELPER = '''

class QKNorm({base}):
    """The norm of query or key: one kernel, or plain operations for a compiler to fuse with their neighbours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            return F.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)
        return super().forward(x)
'''

#: Keyword arguments that say no more than vLLM's layer does.
_DEFAULTS = {"elementwise_affine": "True", "bias": "False"}


def rewrite_rms_norms(module: cst.Module, plan: TransformerPlan, imported: Mapping[str, str]) -> tuple[cst.Module, str]:
    """``module`` with the norms of query and key replaced in each class that has an attention layer, and their class.

    Without such a norm the same object, and no class.
    """
    attentions = {attention.class_name for attention in plan.attentions}
    own = {item.name.value for item in module.body if isinstance(item, cst.ClassDef)}
    body: list[cst.BaseStatement | cst.SimpleStatementLine] = []
    for item in module.body:
        if isinstance(item, cst.ClassDef) and item.name.value in attentions:
            item = transform(item, _Norms(imported, _normalised(item)))
        body.append(item)
    if CLASS in own | set(imported) or all(new is old for new, old in zip(body, module.body, strict=True)):
        return module, ""
    read = _reads(body)
    made = module.with_changes(body=[item for item in body if read or not _imports(item)])
    taken = NAME in own or imported.get(NAME, _DIFFUSERS) != _DIFFUSERS or read
    return made, HELPER.format(base=ALIAS if taken else NAME)


def _normalised(node: cst.ClassDef) -> set[str]:
    """Attributes whose modules the forward applies to a tensor in its place: ``query = self.norm_q(query)``."""
    forward = method(node, "forward")
    found: set[str] = set()
    for target, call in assignments(forward) if forward else ():
        if isinstance(target, cst.Name) and isinstance(call, cst.Call) and len(call.args) == 1:
            found |= {self_attribute(call.func)} if code(call.args[0].value) == target.value else set()
    return found - {""}


def _imports(item: cst.CSTNode) -> bool:
    """Whether a line imports the name, and nothing else: normal forms import one name a line."""
    small = single(item)
    if not isinstance(small, cst.ImportFrom) or isinstance(small.names, cst.ImportStar):
        return False
    return [dotted(alias.name) for alias in small.names] == [NAME]


def _reads(body: Sequence[cst.CSTNode]) -> bool:
    """Whether a class still uses the name as it was."""
    return any(NAME in variables(item) for item in body if isinstance(item, cst.ClassDef))


class _Norms(cst.CSTTransformer):
    def __init__(self, imported: Mapping[str, str], names: set[str]) -> None:
        self.imported, self.names = imported, names

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        value = updated_node.value
        if self_attribute(updated_node.targets[0].target) not in self.names or not isinstance(value, cst.Call):
            return updated_node
        first, _, rest = dotted(value.func).partition(".")
        meant = ".".join(filter(None, (self.imported.get(first, first), rest)))
        made = _replaced(value) if meant in _REPLACED else None
        return updated_node if made is None else updated_node.with_changes(value=made)


def _replaced(call: cst.Call) -> cst.Call | None:
    positional = [a for a in call.args if a.keyword is None and not a.star]
    named = {a.keyword.value: a.value for a in call.args if a.keyword is not None}
    eps = positional[1].value if len(positional) == 2 else named.pop("eps", None)
    if not 1 <= len(positional) <= 2 or eps is None or code(eps) == "None" or len(call.args) > 4:
        return None
    if any(_DEFAULTS.get(name) != code(value) for name, value in named.items()):
        return None
    made = cst.parse_expression(f"{CLASS}({code(positional[0].value)}, eps={code(eps)})")
    assert isinstance(made, cst.Call)
    return made
