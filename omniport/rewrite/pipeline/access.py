"""How the port reaches what the reference reaches through ``DiffusionPipeline`` and the denoisers' config."""

from __future__ import annotations

import ast
from collections.abc import Collection

import libcst as cst

from omniport.rewrite.pipeline.normal import NormalClass
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

#: Attribute of the reference -> attribute of the port.
RENAMED = {
    "self._execution_device": "self.device",
    "self.dtype": "self.od_config.dtype",
    "self.numpy_to_pil": "VaeImageProcessor.numpy_to_pil",
}

#: Members of the reference that no access is left of.
REPLACED = frozenset(name.removeprefix("self.") for name in RENAMED)

#: What the port's bases and constructor give, beside what the class defines itself.
GIVEN = frozenset({"device", "od_config", "progress_bar", "set_progress_bar_config", "interrupt"})


class _Access(cst.CSTTransformer):
    def __init__(
        self, denoisers: Collection[str], settings: Collection[str], raw: Collection[str], models: Collection[str]
    ) -> None:
        self.denoisers, self.settings, self.raw, self.models = denoisers, settings, raw, models
        self.shown = False  # inside a message, which may show the config as a whole

    def visit_FormattedStringExpression(self, node: cst.FormattedStringExpression) -> None:
        self.shown = True

    def leave_FormattedStringExpression(
        self, original_node: cst.FormattedStringExpression, updated_node: cst.FormattedStringExpression
    ) -> cst.FormattedStringExpression:
        self.shown = False
        return updated_node

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = dotted(original_node)
        if name is None:
            return updated_node
        owner, _, last = name.rpartition(".")
        if name in RENAMED:
            return cst.parse_expression(RENAMED[name])
        if owner in self.denoisers and last in ("dtype", "device"):
            return cst.parse_expression("self.od_config.dtype" if last == "dtype" else "self.device")
        if last == "device" and owner in self.models:
            return cst.parse_expression("self.device")  # an offloaded model rests elsewhere than where it computes
        if owner.removesuffix(".config") in self.denoisers and owner.endswith(".config"):
            if last in self.raw:
                return cst.parse_expression(f'self.od_config.tf_model_config.get("{last}")')
            return cst.parse_expression(f"{owner.removesuffix('.config')}.{last}")
        if self.shown and name.removesuffix(".config") in self.denoisers and name.endswith(".config"):
            return cst.parse_expression("self.od_config.tf_model_config")
        if owner == "self.config" and last in self.settings:
            return cst.parse_expression(f"self.{last}")
        return updated_node


def rename(
    node: cst.FunctionDef,
    denoisers: Collection[str],
    settings: Collection[str],
    raw: Collection[str] = (),
    models: Collection[str] = (),
) -> cst.FunctionDef:
    """The method with every access of :data:`RENAMED`; config values of denoisers and settings as plain attributes.

    ``raw`` are config values that the denoiser's constructor does not take: the published config may have them.
    ``models`` are the other components that compute, as ``self.x``: their device is that of the pipeline.
    """
    new = transform(node, _Access(denoisers, settings, raw, models))
    assert isinstance(new, cst.FunctionDef)
    return new


def defined(normal: NormalClass, node: ast.ClassDef) -> set[str]:
    """Attributes that the class itself defines: methods that stay, class variables, and what its methods store."""
    found = set(normal.methods)
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        found |= {t.id for t in targets if isinstance(t, ast.Name)}
    for method in normal.methods.values():
        stored = [store.target for store in of_kind(method, cst.AssignTarget)]
        stored += [store.target for store in of_kind(method, cst.AnnAssign)]
        stored += [store.target for store in of_kind(method, cst.AugAssign)]
        attributes = (attribute for target in stored for attribute in of_kind(target, cst.Attribute))
        found |= {attribute.attr.value for attribute in attributes if dotted(attribute.value) == "self"}
    return found


def foreign(node: cst.FunctionDef, denoisers: Collection[str], own: Collection[str]) -> tuple[str, str] | None:
    """What a renamed method uses that the port does not have: its text, and in words; None if there is nothing."""
    for inner in of_kind(node, cst.Attribute):
        name = dotted(inner)
        if name is None or not name.startswith("self."):
            continue
        if name.removesuffix(".config") in denoisers and name.endswith(".config"):
            return name, "the denoiser's config as a whole"
        last = name[5:]
        if "." not in last and last not in own and last not in GIVEN and not last.startswith("__") and last != "config":
            if last in ("register_modules", "register_to_config"):
                continue  # the constructor's, replaced by loading
            return name, f"{name}: a member that the class does not define itself"
    return None
