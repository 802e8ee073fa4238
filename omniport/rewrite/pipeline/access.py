"""How the port reaches what the reference reaches through ``DiffusionPipeline`` and the denoiser's config."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import walk

DENOISER = "self.transformer"

#: Attribute of the reference -> attribute of the port.
RENAMED = {
    "self._execution_device": "self.device",
    f"{DENOISER}.dtype": "self.od_config.dtype",
    f"{DENOISER}.device": "self.device",
}

#: Members of DiffusionPipeline that the port does not have.
FOREIGN = frozenset({"config", "components", "dtype", "register_to_config", "maybe_convert_prompt", "numpy_to_pil"})


class _Access(cst.CSTTransformer):
    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = dotted(original_node)
        if name in RENAMED:
            return cst.parse_expression(RENAMED[name])
        if dotted(original_node.value) == f"{DENOISER}.config":
            return cst.parse_expression(f"{DENOISER}.{original_node.attr.value}")
        return updated_node


def rename(node: cst.FunctionDef) -> cst.FunctionDef:
    """The method with every access of :data:`RENAMED`, and config values of the denoiser as its attributes."""
    new = transform(node, _Access())
    assert isinstance(new, cst.FunctionDef)
    return new


def foreign(node: cst.FunctionDef) -> tuple[str, str] | None:
    """What a renamed method uses that the port does not have: its text, and in words; None if there is nothing."""
    for inner in walk(node):
        name = dotted(inner) if isinstance(inner, cst.Attribute) else None
        if name == f"{DENOISER}.config":
            return name, "the denoiser's config as a whole"
        if name and name.startswith("self.") and name[5:] in FOREIGN:
            return name, f"{name} of DiffusionPipeline"
    return None
