"""What the constructor does about precision: see :mod:`omniport.analyse.precision`."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.precision import KEPT, checkpoint_tables, kept_names
from omniport.errors import UnsupportedError
from omniport.plan.model import TransformerPlan
from omniport.rewrite.syntax import assignment, code, expression, self_attribute, statements
from omniport.source.transform import transform

KEEP = """
# Kept in float32 whatever the precision of the model, as in diffusers.
for name, parameter in self.named_parameters():
    if not set(self._keep_in_fp32_modules).isdisjoint(name.split(".")):
        parameter.data = parameter.data.float()
"""


def precision_attributes(plan: TransformerPlan) -> list[str]:
    """Class attributes: which modules are kept, and that HSDP gathers each parameter in its own precision."""
    kept = kept_names(plan.decisions)
    return [f"_keep_in_fp32_modules = {kept!r}", "_hsdp_preserve_parameter_dtypes = True"] if kept else []


def precision_statements(plan: TransformerPlan, node: cst.ClassDef) -> list[cst.BaseStatement]:
    """The end of the root's constructor.

    Raises:
        UnsupportedError: the root reads the precision of its first parameter, which may be one that is kept.
    """
    kept = next((d for d in plan.decisions if d.subject == KEPT), None)
    if kept is not None and "next(self.parameters()).dtype" in code(node):
        what = f"{node.name.value} reads its dtype off its first parameter and keeps some in float32"
        raise UnsupportedError(what, kept.why.file, kept.why.line)
    text = "".join(_cast(*table) for table in checkpoint_tables(plan.decisions).items()) + (
        KEEP if kept is not None else ""
    )
    return statements(f"first\n{text}")[1:]  # comments before the first statement belong to the module


def _cast(child: str, buffer: str) -> str:
    return (
        f"\n# Its {buffer} comes with the checkpoint, in the precision of the weights.\n"
        f"self.{child}.to(torch.get_default_dtype())\n"
    )


def keep_unquantised(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """``node`` with no quantisation for the children that stay in float32."""
    kept = set(kept_names(plan.decisions))
    if not kept:
        return node
    new = transform(node, _Unquantised(kept))
    assert isinstance(new, cst.ClassDef)
    return new


class _Unquantised(cst.CSTTransformer):
    def __init__(self, kept: set[str]) -> None:
        self.kept = kept

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        pair = assignment(updated_node)
        if pair is None or self_attribute(pair[0]) not in self.kept or not isinstance(pair[1], cst.Call):
            return updated_node
        args = [
            arg.with_changes(value=expression("None"))
            if arg.keyword is not None and arg.keyword.value == "quant_config"
            else arg
            for arg in pair[1].args
        ]
        line = updated_node.body[0].with_changes(value=pair[1].with_changes(args=args))
        return updated_node.with_changes(body=[line])
