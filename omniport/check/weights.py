"""Facts on ``load_weights`` that several rules share."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, bound_names, last_name, method, walk

#: methods that hand out the tensors a module can load, by name
_TENSORS = ("named_parameters", "named_buffers", "state_dict")
#: expressions that can be a whole table; a set of some of its names is a filter
_MAPPINGS = (ast.Call, ast.DictComp, ast.Dict, ast.BinOp)
#: methods that keep something for later
_RECORDING = frozenset({"add", "append", "discard", "extend", "remove", "setdefault", "update"})


def loaders(port: Port) -> Iterator[tuple[SourceFile, Function]]:
    """Every ``load_weights`` method or function of a port."""
    for file in port.files:
        if file.mentions("load_weights"):
            for function in file.nodes(ast.FunctionDef):
                if function.name == "load_weights":
                    yield file, function


@functools.lru_cache(4096)
def sources(cls: ast.ClassDef) -> tuple[ast.Call, ...]:
    """Every ``ComponentSource(...)`` that a class builds."""
    return tuple(n for n in walk(cls) if isinstance(n, ast.Call) and last_name(n.func) == "ComponentSource")


def declares_sources(cls: ast.ClassDef) -> bool:
    """Whether a class sets ``weights_sources`` to something that is not visibly empty."""
    for node in walk(cls):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            empty = isinstance(node.value, ast.List | ast.Tuple) and not node.value.elts
            if node.value is not None and not empty and "weights_sources" in [last_name(t) for t in targets]:
                return True
    return False


def records_all(cls: ast.ClassDef) -> bool:
    """Whether ``load_weights`` adds the names of components, or of all parameters, to what it returns."""
    loader = method(cls, "load_weights")
    return loader is not None and any(
        isinstance(node, ast.Attribute) and node.attr in ("named_parameters", "state_dict") for node in walk(loader)
    )


def tensor_tables(function: Function) -> set[str]:
    """Variables that map names to the module's own tensors, such as ``params_dict = dict(self.named_parameters())``."""
    tables: set[str] = set()
    for node in walk(function):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, _MAPPINGS):
            continue
        if any(isinstance(n, ast.Attribute) and n.attr in _TENSORS for n in walk(node.value)):
            tables |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return tables


def weight_loops(function: Function) -> Iterator[ast.For]:
    """Loops over the checkpoint tensors, which are the first parameter after ``self``."""
    names = [a.arg for a in function.args.args if a.arg not in ("self", "cls")]
    if not names:
        return
    for node in walk(function):
        if isinstance(node, ast.For) and names[0] in bound_names(node.iter):
            yield node


def own_statements(loop: ast.For) -> Iterator[ast.stmt]:
    """The statements that run as part of a loop's own round: not those of loops and functions inside it.

    The ``else`` of an inner loop does belong to the outer one's round.
    """
    queue: list[ast.stmt] = list(loop.body)
    while queue:
        node = queue.pop(0)
        yield node
        if isinstance(node, ast.For | ast.While):
            queue[:0] = node.orelse
        elif isinstance(node, ast.If):
            queue[:0] = [*node.body, *node.orelse]
        elif isinstance(node, ast.With):
            queue[:0] = node.body
        elif isinstance(node, ast.Try):
            queue[:0] = [*node.body, *node.orelse, *node.finalbody]


def records(nodes: list[ast.stmt]) -> bool:
    """Whether statements keep something, or raise: a name that is kept can still be reported."""
    for statement in nodes:
        for node in walk(statement):
            if isinstance(node, ast.Raise):
                return True
            if isinstance(node, ast.Call) and last_name(node.func) in _RECORDING:
                return True
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Subscript) for t in node.targets):
                return True
    return False
