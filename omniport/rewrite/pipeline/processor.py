"""How the reference builds its processor, where the config of its VAE is all that takes."""

from __future__ import annotations

import ast

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Statement, bound, reads, statements, suite
from omniport.rewrite.pipeline.walk import attributes
from omniport.source.syntax import code, dotted
from omniport.source.toplevel import Definitions
from omniport.source.transform import transform
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.walk import walk


class _Local(cst.CSTTransformer):
    """``self.vae.config.x`` to ``vae_config["x"]``, ``self.x`` to ``x``."""

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        if dotted(original_node.value) == "self.vae.config":
            return cst.parse_expression(f'vae_config["{original_node.attr.value}"]')
        if dotted(original_node.value) == "self":
            return cst.Name(original_node.attr.value)
        return updated_node


def buildable(processor: str, init: cst.FunctionDef, source: SourceTree, module: SourceModule) -> str:
    """Why the engine process cannot build a processor; empty if it can."""
    try:
        construction(processor, init, source, module)
    except UnsupportedError as refusal:
        return refusal.construct
    return ""


def construction(attribute: str, init: cst.FunctionDef, source: SourceTree, module: SourceModule) -> list[str]:
    """Statements that build ``self.<attribute>`` as a local name, from ``vae_config`` and constants.

    Raises:
        UnsupportedError: it is built from more.
    """
    stores = {name: value for statement in suite(init.body) for name, value in _stored(statement).items()}
    places = sum(attribute in _stored(s) for s in statements(suite(init.body)))
    if places > 1 or not isinstance(stores.get(attribute), cst.Call):
        raise UnsupportedError(f"the constructor does not build self.{attribute} in one statement", module.file)
    local = bound(suite(init.body)) | {p.name.value for p in init.params.params} - {"self"}
    try:
        return _lines(attribute, stores, local, module.file)
    except UnsupportedError:
        trimmed = _trimmed(stores[attribute], source, module)
        if trimmed is None:
            raise
        return _lines(attribute, {**stores, attribute: trimmed}, local, module.file)


def _lines(attribute: str, stores: dict[str, cst.BaseExpression], local: set[str], file: str) -> list[str]:
    lines: list[str] = []

    def build(name: str) -> None:
        if name not in stores:
            raise UnsupportedError(f"the processor is built from self.{name}, which the engine process has not", file)
        value = stores[name]
        for needed in attributes(value):
            if needed != "vae":
                build(needed)
        if local & set(reads(value)):
            raise UnsupportedError(f"the processor is built from {code(value)}", file)
        new = transform(value, _Local())
        for inner in walk(new):
            if isinstance(inner, cst.Name) and inner.value in ("self", "vae"):
                raise UnsupportedError(f"the processor is built from {code(value)}", file)
        line = f"{name} = {code(new)}"
        if line not in lines:
            lines.append(line)

    build(attribute)
    return lines


def _trimmed(value: cst.BaseExpression, source: SourceTree, module: SourceModule) -> cst.BaseExpression | None:
    """The construction without the arguments that no post-processing method reads; None if it is no such call."""
    if not isinstance(value, cst.Call) or any(a.keyword is None or a.star for a in value.args):
        return None
    found = source.resolve(module.name, dotted(value.func) or "")
    if found is None:
        return None
    read = _read_settings(source, *found)
    kept = [a for a in value.args if a.keyword is not None and a.keyword.value in read]
    return value.with_changes(args=kept)


def _read_settings(source: SourceTree, module: SourceModule, class_name: str) -> set[str]:
    """``self.config.X`` that the methods reachable from ``postprocess*`` read, bases included."""
    held: list[Definitions] = []  # what the class and its bases define, in the order in which Python looks
    pending = [(module, class_name)]
    while pending:
        where, name = pending.pop()
        outline = where.outline(name)
        held.append(outline.members)
        for base in outline.bases:
            if (
                isinstance(base, ast.Name)
                and (found := source.resolve(where.name, base.id)) is not None
                and found[0].definitions.is_class(found[1])
            ):
                pending.append(found)
    todo = [name for members in held for name in members if name.startswith("postprocess")]
    seen, read = set(), set()
    while todo:
        name = todo.pop()
        owner = next((members for members in held if members.is_function(name)), None)
        if name in seen or owner is None:
            continue
        seen.add(name)
        for inner in ast.walk(owner[name]):
            if isinstance(inner, ast.Attribute):
                read_of = ast.unparse(inner.value)
                if read_of == "self.config":
                    read.add(inner.attr)
                elif read_of == "self":
                    todo.append(inner.attr)
    return read


def _stored(node: Statement) -> dict[str, cst.BaseExpression]:
    found: dict[str, cst.BaseExpression] = {}
    if isinstance(node, cst.SimpleStatementLine):
        for small in node.body:
            if isinstance(small, cst.Assign) and len(small.targets) == 1:
                name = dotted(small.targets[0].target) or ""
                if name.startswith("self.") and name.count(".") == 1:
                    found[name[5:]] = small.value
    return found
