"""Lists of repeated blocks, and what is declared about them: offload, HSDP, regional compile, cache-dit."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

from omniport.analyse.block_loops import read_loops
from omniport.analyse.facts import Facts
from omniport.analyse.kept import kept_by_caller
from omniport.analyse.shapes import Either, Instance, Modules, modules_in
from omniport.analyse.syntax import text
from omniport.plan.model import BlockListPlan, FeaturePlan, Why
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm

#: Blocks that cache-dit computes on every step by its own default: a shorter list fails its check, or saves nothing.
#: Source: cache_dit.DBCacheConfig.Fn_compute_blocks.
COMPUTED = 8


def plan_blocks(normal: NormalForm, facts: Facts) -> tuple[tuple[BlockListPlan, ...], tuple[FeaturePlan, ...]]:
    """The block lists of the root in the order of their construction, and the features that follow from them."""
    module = normal.tree
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    root = classes[normal.root]
    lists = [
        _list(normal, classes, name, block)
        for name, value in facts.instances[normal.root][0].attributes.items()
        for block in _repeated(value, classes)
    ]
    if not lists:
        none = Why("the model has no list of repeated blocks")
        return (), tuple(
            FeaturePlan(name, False, none) for name in ("hsdp", "layerwise offload", "compile", "cache-dit")
        )
    lists = _long_enough(_uncached_calls(normal, lists, root), root)
    names = ", ".join(dict.fromkeys(plan.attribute for plan in lists))
    found = Why(f"repeated blocks: {names}", lists[0].why.file, lists[0].why.line)
    opened = _opened(normal, root, lists)
    moved = opened or _moved(normal, root, lists)
    if moved is None and all(plan.optional for plan in lists):  # vLLM-Omni looks for every list that is declared
        moved = replace(found, reason=f"some configurations have none of the lists {names}")
    cached = next((plan for plan in lists if plan.cache), None)
    return tuple(lists), (
        FeaturePlan("hsdp", opened is None, opened or found),
        FeaturePlan("layerwise offload", moved is None, moved or found),
        FeaturePlan("compile", True, found),
        FeaturePlan("cache-dit", cached is not None, cached.why if cached else lists[-1].why),
    )


def _repeated(value: Any, classes: dict[str, ast.ClassDef]) -> list[str]:
    """The classes of a list's blocks, more than one where the configuration chooses; [] if it is no list of blocks."""
    if isinstance(value, Either):
        return [name for item in value.items for name in _repeated(item, classes)]
    if not (isinstance(value, Modules) and value.many and value.items and isinstance(value.items[0], Instance)):
        return []
    own = any(isinstance(part, Instance) and part.cls in classes for part in modules_in(value.items[0]))
    return [value.items[0].cls] if own else []  # only imported: nothing of the port repeats


def _list(normal: NormalForm, classes: dict[str, ast.ClassDef], attribute: str, block: str) -> BlockListPlan:
    node, root = classes.get(block), classes[normal.root]
    forward = (
        next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None) if node else None
    )
    parameters = [arg.arg for arg in forward.args.args[1:]] if forward else None
    reading = read_loops(root, attribute, parameters)
    origin = normal.origin(reading.line)
    why = Why(f"{attribute}: {reading.reason}", origin.file, origin.line)
    reached = tuple(dict.fromkeys(_reached(root, attribute)))
    optional = not _always(root, attribute)
    if optional and reading.cache:  # vLLM-Omni looks for every list that is declared
        why = replace(why, reason=f"{attribute}: some configurations have no such list")
    cache = "" if optional else reading.cache
    return BlockListPlan(attribute, block, reading.pattern, why, cache, reading.named, reached, optional)


def _always(root: ast.ClassDef, attribute: str) -> bool:
    """Whether the constructor makes the list whatever the configuration says."""

    def makes(body: list[ast.stmt]) -> bool:
        for node in body:
            if isinstance(node, ast.Assign) and text(node.targets[0]) == f"self.{attribute}":
                return text(node.value) != "None"
            if isinstance(node, ast.If) and node.orelse and makes(node.body) and makes(node.orelse):
                return True
        return False

    return makes(next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "__init__").body)


def _uncached_calls(normal: NormalForm, lists: list[BlockListPlan], root: ast.ClassDef) -> list[BlockListPlan]:
    """The lists left to themselves where the caller keeps keys and values: the tokens of its calls differ."""
    forward = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    kept = kept_by_caller(forward)
    if kept is None:
        return lists
    origin = normal.origin(kept.lineno)
    reason = f"{kept.arg}: calls that fill it have other tokens than those that read it, and cache-dit compares calls"
    return [replace(plan, cache="", why=Why(f"{plan.attribute}: {reason}", origin.file, origin.line)) for plan in lists]


def _long_enough(lists: list[BlockListPlan], root: ast.ClassDef) -> list[BlockListPlan]:
    """The lists with the short ones left to themselves, if there are others."""
    init = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    lengths = {plan.attribute: default_length(init, plan.attribute) for plan in lists}
    if not any(plan.cache and (lengths[plan.attribute] or COMPUTED) >= COMPUTED for plan in lists):
        return lists
    found = []
    for plan in lists:
        length = lengths[plan.attribute]
        if plan.cache and length is not None and length < COMPUTED:
            why = replace(
                plan.why, reason=f"{plan.attribute}: {length} blocks, and cache-dit computes {COMPUTED} anyway"
            )
            plan = replace(plan, cache="", why=why)
        found.append(plan)
    return found


def default_length(init: ast.FunctionDef, attribute: str) -> int | None:
    """How many blocks the constructor's own defaults make."""
    arguments = init.args.args[len(init.args.args) - len(init.args.defaults) :]
    defaults = {a.arg: _number(d) for a, d in zip(arguments, init.args.defaults, strict=True)}
    for node in each_node(init):
        if isinstance(node, ast.Assign) and text(node.targets[0]) == f"self.{attribute}":
            for part in each_node(node.value):
                if isinstance(part, ast.comprehension) and isinstance(part.iter, ast.Call) and part.iter.args:
                    length = text(part.iter.args[-1]).removeprefix("len(").removesuffix(")").removeprefix("self.")
                    return defaults.get(length)
    return None


def _number(default: ast.expr) -> int | None:
    """The number that a default is, or of what is in it."""
    if isinstance(default, ast.List | ast.Tuple):
        return len(default.elts)
    value = default.value if isinstance(default, ast.Constant) else None
    return value if isinstance(value, int) else None


def _reached(root: ast.ClassDef, attribute: str) -> list[str]:
    """Modules within a block that the root calls itself, past the block's own forward: ``blocks.0.norm1.emb``."""
    return [
        text(node.func).removeprefix("self.").replace("[", ".").replace("]", "")
        for node in each_node(root)
        if isinstance(node, ast.Call) and text(node.func).startswith(f"self.{attribute}[")
        if isinstance(node.func, ast.Attribute)
    ]


def _moved(normal: NormalForm, root: ast.ClassDef, lists: list[BlockListPlan]) -> Why | None:
    """Where the root uses a part of a block other than the first.

    The first block's weights are there when the forward begins and again when its loop has ended, for the hook of the
    last block brings them; those of the others are there during the block's own forward only.
    """
    for path in (path for plan in lists for path in plan.reached):
        if path.split(".")[1] != "0":
            reason = f"{root.name} calls {path} itself: a block's weights are loaded for its own forward only"
            return Why(reason, *_place(normal, root, path.split(".")[0]))
    return None


def _opened(normal: NormalForm, root: ast.ClassDef, lists: list[BlockListPlan]) -> Why | None:
    """Where the root reads a tensor of a block: no hook gathers or loads it."""
    names = {f"self.{plan.attribute}" for plan in lists}
    called = {node.func for node in each_node(root) if isinstance(node, ast.Call)}
    inner = {node.value for node in each_node(root) if isinstance(node, ast.Attribute)}
    forward = next(n for n in root.body if isinstance(n, ast.FunctionDef) and n.name == "forward")
    for node in each_node(forward):
        if isinstance(node, ast.Attribute) and node not in called and node not in inner:
            base: ast.expr = node
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Subscript) and text(base.value) in names:
                origin = normal.origin(node.lineno)
                reason = f"{root.name} reads {text(node)} itself: a block's weights are there for its forward only"
                return Why(reason, origin.file, origin.line)
    return None


def _place(normal: NormalForm, root: ast.ClassDef, attribute: str) -> tuple[str, int]:
    start = f"self.{attribute}["
    calls = (n for n in each_node(root) if isinstance(n, ast.Call) and text(n.func).startswith(start))
    origin = normal.origin(next(calls).lineno)
    return origin.file, origin.line
