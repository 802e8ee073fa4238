"""Which modules of the reference make their tables from sizes alone, so that each step of a request gets the same.

Rotary embeddings read the shape of the latents, hardly ever what they hold.  A port keeps what such a module made
(:mod:`omniport.rewrite.size_tables`) if nothing writes into it on its way through the blocks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

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
    functions = methods(classes[-1])
    sites = dict(_sites(functions["forward"]))
    found = []
    for line in functions["__init__"].body if sites else ():
        if not (isinstance(line, ast.Assign) and isinstance(line.value, ast.Call)):
            continue
        target, cls = line.targets[0], line.value.func
        if not (isinstance(target, ast.Attribute) and target.attr in sites and isinstance(cls, ast.Name)):
            continue
        place = tree.resolve(imported[cls.id], cls.id) if cls.id in imported else None
        if place is None or not place[0].definitions.is_class(place[1]) or _uses(classes[-1], target.attr) != 2:
            continue
        node = place[0].class_def(place[1])
        if _by_size(node) and not written_into(
            sites[target.attr], functions["forward"], Callables(tree, classes, imported)
        ):
            given = ast.unparse(methods(node)["forward"].args).removeprefix("self, ")
            why = Why("makes its tables from sizes alone, and nothing writes into them", place[0].file, node.lineno)
            found.append(Decision(f"{SUBJECT} {target.attr}", f"{cls.id}({given})", why))
    return found


def _sites(forward: ast.FunctionDef) -> Iterator[tuple[str, list[str]]]:
    """``rope`` of the line ``tables = self.rope(x)``, with the names that get what it gives."""
    for node in each_node(forward):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.targets) == 1:
            owner, target = node.value.func, node.targets[0]
            names = [target] if isinstance(target, ast.Name) else getattr(target, "elts", [])
            own = isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "self"
            if own and names and all(isinstance(name, ast.Name) for name in names):
                assert isinstance(owner, ast.Attribute)
                yield owner.attr, [name.id for name in names]


def _uses(root: ast.ClassDef, name: str) -> int:
    """How often the root names its attribute: where it is made, and where it is called."""
    return sum(isinstance(node, ast.Attribute) and node.attr == name for node in each_node(root))


def _by_size(node: ast.ClassDef) -> bool:
    """Whether a module holds no weight and keeps nothing between calls, and reads sizes alone of its tensors."""
    own = methods(node)
    if not {"__init__", "forward"} <= own.keys() or [ast.unparse(base) for base in node.bases] != ["nn.Module"]:
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
