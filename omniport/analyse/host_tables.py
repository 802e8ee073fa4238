"""Which modules of the reference make their tables on the host, wherever the inputs are.

Some rotary embeddings (GLM-Image, CogView4, EasyAnimate) name no device: the tables that they make lie on the host, and
the function that rotates by them copies them to the device, for query and key of every block.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from omniport.analyse.table_makers import kept_calls, makers, plain_module
from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceModule, SourceTree

SUBJECT = "tables on the host"

_MAKERS = frozenset({"arange", "eye", "linspace", "ones", "zeros"})
_SIZES = frozenset({"dim", "ndim", "shape", "size"})
#: What brings a tensor to a device that it was not made on.
_MOVES = frozenset({"cuda", "device", "new_empty", "new_full", "new_ones", "new_tensor", "new_zeros", "to", "type_as"})


def host_tables(tree: SourceTree, root: ast.ClassDef, imported: Mapping[str, str]) -> list[Decision]:
    """``tables on the host attribute``: the class, for each module of the root that returns a tuple of such tables.

    Args:
        tree: the reference.
        root: the root class in normal form.
        imported: names that its module imports from the reference, with the modules they are defined in.
    """
    found = []
    for made in makers(tree, root, imported, dict.fromkeys(_called(methods(root)["forward"]))):
        if _on_host(tree, made.source, made.node):
            why = Why("makes its tables from sizes alone, on no device", made.source.file, made.node.lineno)
            found.append(Decision(f"{SUBJECT} {made.attribute}", made.called, why))
    return found


def _called(forward: ast.FunctionDef) -> Iterator[str]:
    """``rope`` of each line ``tables = self.rope(x)`` with a parameter ``x``."""
    given = {arg.arg for arg in forward.args.args}
    for attribute, target, call in kept_calls(forward):
        one = len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Name)
        if one and isinstance(target, ast.Name) and ast.unparse(call.args[0]) in given:
            yield attribute


def _on_host(tree: SourceTree, source: SourceModule, node: ast.ClassDef) -> bool:
    """Whether a class holds no tensor, and its forward makes a tuple of them from sizes and names no device."""
    if not plain_module(node):
        return False
    own = methods(node)
    plain = all(
        ast.unparse(line) == "super().__init__()"
        or isinstance(line, ast.Assign)
        and not any(isinstance(part, ast.Call) for part in each_node(line))
        for line in own["__init__"].body
    )
    forward = own["forward"]
    calls = [part for part in each_node(forward) if isinstance(part, ast.Call)]
    return (
        plain
        and all(not _places(method) for method in own.values())
        and _sizes_alone(forward)
        and any(_makes(tree, source, call) for call in calls)
        and _returns_tuple(tree, source, forward)
    )


def _places(method: ast.FunctionDef) -> bool:
    """Whether a method names a device, other than that of a tensor which it makes."""
    given = {arg.arg for arg in method.args.args}
    for node in each_node(method):
        if isinstance(node, ast.Attribute) and node.attr in _MOVES:
            local = isinstance(node.value, ast.Name) and node.value.id not in given
            if node.attr != "device" or not local or ast.unparse(node) == "torch.device":
                return True
        elif isinstance(node, ast.keyword) and node.arg == "device" and not isinstance(node.value, ast.Attribute):
            return True
    return False


def _sizes_alone(forward: ast.FunctionDef) -> bool:
    """Whether a forward reads nothing of its parameters but their sizes."""
    given = {arg.arg for arg in forward.args.args} - {"self"}
    nodes = list(each_node(forward))
    sizes = {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in _SIZES}
    return all(id(node) in sizes for node in nodes if isinstance(node, ast.Name) and node.id in given)


def _makes(tree: SourceTree, source: SourceModule, call: ast.Call) -> bool:
    """``torch.arange(n)``, or a function of the reference that would take a device."""
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value) == "torch" and call.func.attr in _MAKERS
    function = _function(tree, source, call)
    return function is not None and any(arg.arg == "device" for arg in function[1].args.args)


def _returns_tuple(tree: SourceTree, source: SourceModule, function: ast.FunctionDef, depth: int = 2) -> bool:
    """Whether each value that a function returns is a tuple, or what another one returns that gives tuples."""
    own = list(_own_statements(function.body))
    values = [line.value for line in own if isinstance(line, ast.Return)]
    made = [(ast.unparse(line.targets[0]), line.value) for line in own if isinstance(line, ast.Assign)]
    for value in values:
        if isinstance(value, ast.Name):
            bound = [given for name, given in made if name == value.id]
            value = bound[0] if len(bound) == 1 else value
        inner = _function(tree, source, value) if isinstance(value, ast.Call) and depth else None
        if not isinstance(value, ast.Tuple) and (inner is None or not _returns_tuple(tree, *inner, depth - 1)):
            return False
    return bool(values)


def _own_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a function, without those of functions within it."""
    for line in body:
        yield line
        if not isinstance(line, ast.FunctionDef):
            for part in (getattr(line, "body", []), getattr(line, "orelse", [])):
                yield from _own_statements(part)


def _function(tree: SourceTree, source: SourceModule, call: ast.Call) -> tuple[SourceModule, ast.FunctionDef] | None:
    found = tree.resolve(source.name, call.func.id) if isinstance(call.func, ast.Name) else None
    node = found[0].definitions.get(found[1]) if found is not None else None
    return (found[0], node) if found is not None and isinstance(node, ast.FunctionDef) else None
