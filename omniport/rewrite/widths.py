"""Layers whose width a class computes in its own words are checked where they are made.

The constructor of the root checks what its parameters say (:func:`omniport.rewrite.root.check`); it does not have these
numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from omniport.plan.model import TransformerPlan
from omniport.rewrite.paths import module_paths
from omniport.rewrite.syntax import code, dotted, statements
from omniport.source.transform import transform
from omniport.source.walk import walk

SUBJECT = "own width "

CHECK = '''
def check_divisible(owner: str, **sizes: int) -> None:
    """Refuse a number of tensor-parallel ranks that does not divide what they share of a layer."""
    tp_size = get_tensor_model_parallel_world_size()
    if any(size % tp_size for size in sizes.values()):
        works = [n for n in range(1, min(sizes.values()) + 1) if not any(size % n for size in sizes.values())]
        shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"tensor_parallel_size={tp_size} does not divide {shown} of {owner}; these do: {works}")
'''

#: Where a layer takes what the ranks share: outputs, or inputs of a row.
_PLACES = {"row": (0, ("in_features", "in_channels")), "scattered": (0, ("in_features", "in_channels"))}
_OUTPUTS = (1, ("out_features", "out_channels"))


def check_widths(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """A class whose constructor checks the widths that the plan leaves to it."""
    own = {d.subject.removeprefix(SUBJECT) for d in plan.decisions if d.subject.startswith(SUBJECT)}
    name = node.name.value
    if not any(path.partition(".")[0] == name for path in own):
        return node
    linears = {linear.path: linear for linear in plan.linears}
    convs = {conv.path: conv for conv in plan.convs}
    made = {call: f"{name}.{path}" for call, path in module_paths(node).items()}
    first = next((call for call, path in made.items() if path in convs), None)  # before any convolution is made
    sizes: dict[cst.Call, tuple[str, ...]] = {}
    for call, path in made.items():
        if path not in own or dotted(call.func).rpartition(".")[2] not in ("Linear", "Conv2d"):
            continue
        role, packed = (linears[path].role, linears[path].packed) if path in linears else (convs[path].role, ())
        found = packed if role == "merged" and packed else (_argument(call, *_PLACES.get(role, _OUTPUTS)),)
        at = call if path in linears or first is None else first
        sizes[at] = (*sizes.get(at, ()), *found)
    result = transform(node, _Check(name, sizes))
    assert isinstance(result, cst.ClassDef)
    return result


def _argument(call: cst.Call, position: int, names: tuple[str, ...]) -> str:
    for at, arg in enumerate(call.args):
        if (arg.keyword is None and at == position) or (arg.keyword is not None and arg.keyword.value in names):
            return code(arg.value)
    return ""


class _Check(cst.CSTTransformer):
    def __init__(self, name: str, sizes: dict[cst.Call, tuple[str, ...]]) -> None:
        self.name, self.sizes = name, sizes
        self.checked: set[str] = set()

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        found = [size for call in _calls(original_node) if call in self.sizes for size in self.sizes[call]]
        fresh = [size for size in dict.fromkeys(found) if size and size not in self.checked]
        self.checked |= set(fresh)
        if not fresh:
            return updated_node
        shown = [f"{_name(size, at)}={size}" for at, size in enumerate(fresh)]
        (line,) = statements(f'check_divisible("{self.name}", {", ".join(shown)})\n')
        assert isinstance(line, cst.SimpleStatementLine)
        first = line.with_changes(leading_lines=updated_node.leading_lines)
        return cst.FlattenSentinel([first, updated_node.with_changes(leading_lines=[])])


def _calls(line: cst.CSTNode) -> Iterable[cst.Call]:
    """Calls that a line makes in any case."""
    conditional = [part for part in walk(line) if isinstance(part, cst.IfExp)]
    inner = {id(part) for choice in conditional for part in walk(choice)}
    return [part for part in walk(line) if isinstance(part, cst.Call) and id(part) not in inner]


def _name(size: str, at: int) -> str:
    """What a size is called in the message."""
    last = size.rpartition(".")[2]
    return last if last.isidentifier() else f"width_{at}" if at else "width"
