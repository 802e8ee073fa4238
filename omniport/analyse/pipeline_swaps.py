"""Attention processors that a pipeline sets on the blocks of its denoiser when it is built: one class for each list.

Understood is ``for block in self.transformer.blocks: block.attn.set_processor(Processor())`` in a method that the
constructor calls as a statement, and that nothing else calls. The port of the denoiser has the forwards of those
processors from the start.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from omniport.analyse import pipeline_reading as reading
from omniport.analyse.pipeline_knowledge import SWAPPING_CALLS
from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceModule, SourceTree


@dataclass(frozen=True)
class Swap:
    """``method`` sets ``processor`` (a dotted class) on ``place``: list of blocks, then attributes of a block."""

    method: str
    place: str
    processor: str
    line: int


def swaps(source: SourceTree, module: SourceModule, node: ast.ClassDef, denoisers: Collection[str]) -> tuple[Swap, ...]:
    """What the class ``node`` of ``module`` sets on its denoisers, by their names.

    Raises:
        UnsupportedError: it sets processors in another form, or on some denoisers only.
    """
    if not any(f"{call}(" in module.text for call in SWAPPING_CALLS):
        return ()
    found: dict[str, list[Swap]] = {name: [] for name in denoisers}
    own = methods(node)
    for name, method in own.items():
        calls = [n for n in each_node(method) if isinstance(n, ast.Attribute) and n.attr in SWAPPING_CALLS]
        if not calls:
            continue
        loops = [_loop(source, module, statement) for statement in _body(method)]
        built = _statements(own["__init__"], name) if "__init__" in own else 0
        uses = sum(isinstance(n, ast.Attribute) and n.attr == name for n in each_node(node))
        if not all(loops) or len(method.args.args) != 1 or built != 1 or uses != 1:
            raise UnsupportedError(f"{calls[0].attr} {FORM}", module.file, calls[0].lineno)
        for owner, place, processor, line in filter(None, loops):
            if owner not in found:
                raise UnsupportedError(f"{calls[0].attr} {FORM}", module.file, line)
            found[owner].append(Swap(name, place, processor, line))
    alike = {tuple((swap.place, swap.processor) for swap in each) for each in found.values()}
    if len(alike) > 1:
        raise UnsupportedError("processors are set on some denoisers only", module.file, node.lineno)
    each = next(iter(found.values()), [])
    places = [swap.place for swap in each]
    if len(set(places)) < len(places):
        raise UnsupportedError("processors are set twice", module.file, node.lineno)
    return tuple(each)


FORM = "swaps attention processors of the denoiser in a form that no rule knows"


def _body(method: ast.FunctionDef) -> list[ast.stmt]:
    documented = ast.get_docstring(method) is not None
    return method.body[1:] if documented else method.body


def _loop(source: SourceTree, module: SourceModule, node: ast.stmt) -> tuple[str, str, str, int] | None:
    """Denoiser, place, processor and line of a loop that sets a processor on each block of a list."""
    if not isinstance(node, ast.For) or not isinstance(node.target, ast.Name) or node.orelse or len(node.body) != 1:
        return None
    statement = node.body[0]
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or len(call.args) != 1 or call.keywords:
        return None
    listed = (reading.dotted(node.iter) or "").split(".")
    called = (reading.dotted(call.func) or "").split(".")
    made = call.args[0]
    bare = isinstance(made, ast.Call) and not made.args and not made.keywords and isinstance(made.func, ast.Name)
    if len(listed) != 3 or listed[0] != "self" or called[0] != node.target.id or called[-1] != "set_processor":
        return None
    if not bare or len(called) < 3:
        return None
    found = source.resolve(module.name, made.func.id)  # type: ignore[attr-defined]
    if found is None or not found[0].definitions.is_class(found[1]):
        return None
    return listed[1], ".".join((listed[2], *called[1:-1])), f"{found[0].name}.{found[1]}", statement.lineno


def _statements(init: ast.FunctionDef, name: str) -> int:
    """How often the constructor calls a method as a statement, under no condition."""
    return sum(_calls(statement, name) for statement in init.body)


def _calls(statement: ast.stmt, name: str) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and not call.args
        and not call.keywords
        and reading.dotted(call.func) == f"self.{name}"
    )
