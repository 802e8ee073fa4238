"""Which modules of the reference make their tables on the host, wherever the inputs are.

Some rotary embeddings (GLM-Image, CogView4, EasyAnimate) name no device: the tables that they make lie on the host, and
the function that rotates by them copies them to the device, for query and key of every block.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from omniport.plan.model import Decision, Why
from omniport.source.nodes import each_node
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
    functions = {node.name: node for node in root.body if isinstance(node, ast.FunctionDef)}
    called = dict.fromkeys(_called(functions["forward"]))
    found = []
    for line in functions["__init__"].body if called else ():
        if not (isinstance(line, ast.Assign) and isinstance(line.value, ast.Call)):
            continue
        target, cls = line.targets[0], line.value.func
        if not (isinstance(target, ast.Attribute) and target.attr in called and isinstance(cls, ast.Name)):
            continue
        place = tree.resolve(imported[cls.id], cls.id) if cls.id in imported else None
        if place is not None and place[0].definitions.is_class(place[1]):
            source, node = place[0], place[0].class_def(place[1])
            if _on_host(tree, source, node):
                why = Why("makes its tables from sizes alone, on no device", source.file, node.lineno)
                found.append(Decision(f"{SUBJECT} {target.attr}", cls.id, why))
    return found


def _called(forward: ast.FunctionDef) -> Iterator[str]:
    """``rope`` of each line ``tables = self.rope(x)`` with a parameter ``x``."""
    given = {arg.arg for arg in forward.args.args}
    for node in each_node(forward):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.targets) == 1):
            continue
        call, owner = node.value, node.value.func
        one = len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Name)
        own = isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "self"
        if own and one and isinstance(node.targets[0], ast.Name) and ast.unparse(call.args[0]) in given:
            assert isinstance(owner, ast.Attribute)
            yield owner.attr


def _on_host(tree: SourceTree, source: SourceModule, node: ast.ClassDef) -> bool:
    """Whether a class holds no tensor, and its forward makes a tuple of them from sizes and names no device."""
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if not {"__init__", "forward"} <= methods.keys() or [ast.unparse(base) for base in node.bases] != ["nn.Module"]:
        return False
    plain = all(
        ast.unparse(line) == "super().__init__()"
        or isinstance(line, ast.Assign)
        and not any(isinstance(part, ast.Call) for part in each_node(line))
        for line in methods["__init__"].body
    )
    forward = methods["forward"]
    calls = [part for part in each_node(forward) if isinstance(part, ast.Call)]
    return (
        plain
        and all(not _places(method) for method in methods.values())
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
