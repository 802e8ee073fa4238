"""Which modules of the reference make their tables from sizes alone, so that each step of a request gets the same.

Rotary embeddings read the shape of the latents, hardly ever what they hold.  A port keeps what such a module made
(:mod:`omniport.rewrite.size_tables`) if nothing writes into it on its way through the blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from omniport.analyse.table_makers import kept_calls, makers, plain_module
from omniport.analyse.written_into import Callables, written_into
from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceTree

SUBJECT = "tables by size"

_SIZES = frozenset({"device", "dim", "dtype", "ndim", "shape", "size"})
#: Parameters that say themselves what is made.
_PLAIN = frozenset({"bool", "float", "int", "str", "torch.device", "None"})


def size_tables(tree: SourceTree, classes: Sequence[ast.ClassDef], imported: Mapping[str, str]) -> list[Decision]:
    """``tables by size attribute``: class and parameters, for each module of the root that makes such tables.

    Args:
        tree: the reference.
        classes: the classes in normal form, the root last.
        imported: names that their module imports from the reference, with the modules they are defined in.
    """
    forward = methods(classes[-1])["forward"]
    sites = {attribute: names for attribute, target, _ in kept_calls(forward) if (names := _names(target))}
    found = []
    for made in makers(tree, classes[-1], imported, sites):
        if (
            _uses(classes[-1], made.attribute) == 2
            and _by_size(made.node)
            and not written_into(sites[made.attribute], forward, Callables(tree, classes, imported))
        ):
            given = ast.unparse(methods(made.node)["forward"].args).removeprefix("self, ")
            reason = "makes its tables from sizes alone, and nothing writes into them"
            why = Why(reason, made.source.file, made.node.lineno)
            found.append(Decision(f"{SUBJECT} {made.attribute}", f"{made.called}({given})", why))
    return found


def _names(target: ast.expr) -> list[str]:
    """The names that get what a module gives; none where something else gets it."""
    names = [target] if isinstance(target, ast.Name) else getattr(target, "elts", [])
    return [name.id for name in names] if all(isinstance(name, ast.Name) for name in names) else []


def _uses(root: ast.ClassDef, name: str) -> int:
    """How often the root names its attribute: where it is made, and where it is called."""
    return sum(isinstance(node, ast.Attribute) and node.attr == name for node in each_node(root))


def _by_size(node: ast.ClassDef) -> bool:
    """Whether a module holds no weight and keeps nothing between calls, and reads sizes alone of its tensors."""
    own = methods(node)
    if not plain_module(node):
        return False
    forward = own["forward"]
    plain = all(ast.unparse(mark) == "torch.no_grad()" for mark in forward.decorator_list)
    others = [method for name, method in own.items() if name != "__init__"]
    return (
        plain
        and not (forward.args.vararg or forward.args.kwarg or forward.args.kwonlyargs)
        and not any(_holds_weights(part) for part in each_node(own["__init__"]))
        and not any(_keeps(part) for method in others for part in each_node(method))
        and _sizes_alone(forward)
    )


def _holds_weights(node: ast.AST) -> bool:
    """Whether a part of a constructor makes something that a checkpoint fills."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    if name == "self.register_buffer":
        return not any(word.arg == "persistent" and ast.unparse(word.value) == "False" for word in node.keywords)
    return name.startswith(("nn.", "torch.nn.", "self.register_"))


def _keeps(node: ast.AST) -> bool:
    """Whether a part of a method leaves something behind, or does not give the same each time."""
    if isinstance(node, ast.Attribute):
        drawn = node.attr in ("register_buffer", "random") or node.attr.startswith(("rand", "manual_seed"))
        return drawn or isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    return isinstance(node, ast.Global | ast.Nonlocal) or (
        isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and ast.unparse(node).startswith("self.")
    )


def _sizes_alone(forward: ast.FunctionDef) -> bool:
    """Whether a forward reads nothing of its parameters but their sizes, where they are no sizes themselves."""
    arguments = [*forward.args.posonlyargs, *forward.args.args][1:]
    tensors = {arg.arg for arg in arguments if not _is_plain(arg.annotation)}
    nodes = each_node(forward)
    sizes = {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in _SIZES}
    return all(id(node) in sizes for node in nodes if isinstance(node, ast.Name) and node.id in tensors)


def _is_plain(annotation: ast.expr | None) -> bool:
    """``int | None``"""
    if isinstance(annotation, ast.BinOp):
        return _is_plain(annotation.left) and _is_plain(annotation.right)
    return annotation is not None and ast.unparse(annotation) in _PLAIN
