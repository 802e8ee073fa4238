"""Attention processors that are set on blocks after they are built: by the pipeline, or by the model's constructor.

A module that gets another processor on one list of blocks than on the next is a variant of its own for each list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.binding import parameters
from omniport.analyse.class_plans import where_of
from omniport.analyse.values import Processor, Reference, Value
from omniport.analyse.variants import Swap
from omniport.errors import UnsupportedError
from omniport.source.slice import method as method_of
from omniport.source.syntax import code, dotted
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.walk import of_kind


def asked(demand: Iterable[tuple[str, str]]) -> tuple[Swap, ...]:
    """What a pipeline sets: place (``blocks.attn``) and dotted class of each."""
    return tuple(_swap(place, *cls.rpartition(".")[::2]) for place, cls in demand)


def own(tree: SourceTree, module: SourceModule, node: cst.ClassDef) -> tuple[Swap, ...]:
    """What the constructor of the root sets in ``for block in self.blocks: block.attn.set_processor(Processor())``.

    Raises:
        UnsupportedError: processors are set in another form.
    """
    found: dict[int, Swap] = {}
    for loop in of_kind(node, cst.For):
        for call in of_kind(loop.body, cst.Call):
            if (swap := _set_by(tree, module, loop, call)) is not None:
                found[id(call)] = swap
    for call in of_kind(node, cst.Call):
        sets = type(call.func) is cst.Attribute and call.func.attr.value == "set_processor"
        if sets and dotted(call.func) != "self.set_processor" and id(call) not in found:
            raise UnsupportedError(f"{node.name.value} replaces processors by {code(call)}", *where_of(node))
    places = [swap.place for swap in found.values()]
    if len(set(places)) < len(places):
        raise UnsupportedError(f"{node.name.value} sets processors twice", *where_of(node))
    return tuple(found.values())


def set_on(swaps: Iterable[Swap]) -> Swap | None:
    """The processor that is set on the module itself."""
    return next((swap for swap in swaps if not swap.left), None)


def with_processor(arguments: list[tuple[str | None, Value]], swap: Swap) -> list[tuple[str | None, Value]]:
    """A constructor's arguments, with the processor that is set later in place of the one that is given."""
    new = Processor(swap.processor)
    return [(name, new if isinstance(value, Processor) else value) for name, value in arguments]


def taken(tree: SourceTree, swaps: Iterable[Swap]) -> dict[str, dict[str, cst.Param]]:
    """List of blocks -> what the processors take that are set on it, by name."""
    found: dict[str, dict[str, cst.Param]] = {}
    for swap in swaps:
        module = tree.module(swap.processor.module)
        if module is not None:
            call = method_of(module, swap.processor.name, "__call__")
            table = found.setdefault(swap.left[0], {})
            table |= {param.name.value: param for param in parameters(call) if param.name.value != "attn"}
    return found


def left_out(node: cst.ClassDef, given: Iterable[str]) -> set[str]:
    """Parameters of the root's forward that are None in a port, but for those in ``given``."""
    patterns = [pattern for pattern, _, _ in knowledge.DROPPED_PARAMETERS]
    forwards = (f for f in node.body.body if isinstance(f, cst.FunctionDef) and f.name.value == "forward")
    names = {param.name.value for forward in forwards for param in parameters(forward)} - set(given)
    return {name for name in names if any(pattern.match(name) for pattern in patterns)}


def _set_by(tree: SourceTree, module: SourceModule, loop: cst.For, call: cst.Call) -> Swap | None:
    listed = (dotted(loop.iter) or "").split(".")
    called = (dotted(call.func) or "").split(".")
    given = call.args[0].value if len(call.args) == 1 else None
    alone = len(loop.body.body) == 1 and isinstance(loop.target, cst.Name)
    if not alone or len(listed) != 2 or listed[0] != "self" or called[-1] != "set_processor" or len(called) < 3:
        return None
    made = dotted(given.func) if isinstance(given, cst.Call) and not given.args else None
    found = tree.resolve(module.name, made) if made is not None else None
    if called[0] != dotted(loop.target) or found is None or not found[0].definitions.is_class(found[1]):
        return None
    return _swap(".".join((listed[1], *called[1:-1])), found[0].name, found[1])


def _swap(place: str, module: str, name: str) -> Swap:
    return Swap(place, Reference(module, name), tuple(place.split(".")))


def unset(swaps: Iterable[Swap], done: Iterable[str]) -> Iterator[str]:
    """Places that no attention of the model was found at."""
    return (swap.place for swap in swaps if swap.place not in set(done))
