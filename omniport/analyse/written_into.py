"""Whether anything writes into tensors on their way from a root's forward through all that it hands them to.

Followed are names: what is a tensor itself, a view of it, or a tuple that holds it.  What a function gives back is new,
but for the root's own methods.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from omniport.records import dataclass
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceTree

#: Calls that give what holds their argument.
_HOLDERS = frozenset({"enumerate", "list", "reversed", "tuple", "zip"})

Names = dict[int, set[str]]


@dataclass
class Callables:
    """What the calls of a port's classes, the root last, may reach."""

    tree: SourceTree
    classes: Sequence[ast.ClassDef]
    imported: Mapping[str, str]

    def reached(self, call: ast.Call) -> Iterator[ast.FunctionDef]:
        """The functions that a call may run, as far as they are read."""
        owner = call.func
        if isinstance(owner, ast.Name) and owner.id in self.imported:
            place = self.tree.resolve(self.imported[owner.id], owner.id)
            node = place[0].definitions.get(place[1]) if place is not None else None
            if isinstance(node, ast.FunctionDef):
                yield node
        elif isinstance(owner, ast.Name) or isinstance(owner, ast.Attribute) and ast.unparse(owner.value) == "self":
            name = owner.attr if isinstance(owner, ast.Attribute) else ""
            own = [methods(node)[name] for node in self.classes if name in methods(node)]
            others = (methods(node)["forward"] for node in self.classes[:-1] if "forward" in methods(node))
            yield from own or (forward for forward in others if _takes(forward, call))


def written_into(names: Iterable[str], function: ast.FunctionDef, callables: Callables) -> bool:
    """Whether ``function``, or what it calls, may write into the tensors that its variables ``names`` hold."""
    held: dict[int, set[str]] = {id(function): set(names)}
    left = [function]
    while left:
        current = left.pop()
        mine = held[id(current)]
        nodes = each_node(current)
        before = -1
        while before != len(mine):
            before = len(mine)
            for node in nodes:
                mine |= _more(node, mine, callables)
        if any(_writes(node, mine) for node in nodes):
            return True
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            given = _given(node, mine)
            for callee in callables.reached(node) if given else ():
                passed = _parameters(callee, given)
                if not passed <= held.get(id(callee), set()):
                    held[id(callee)] = held.get(id(callee), set()) | passed
                    left.append(callee)
    return False


def _takes(forward: ast.FunctionDef, call: ast.Call) -> bool:
    """Whether a forward has the parameters that a call gives, and no others that it needs."""
    names = [arg.arg for arg in (*forward.args.posonlyargs, *forward.args.args)][1:]
    words = {word.arg for word in call.keywords}
    if None in words or any(isinstance(arg, ast.Starred) for arg in call.args) or forward.args.vararg:
        return True
    needed = set(names[len(call.args) : len(names) - len(forward.args.defaults)])
    known = {*names[len(call.args) :], *(arg.arg for arg in forward.args.kwonlyargs)}
    return len(call.args) <= len(names) and needed <= words and (words <= known or forward.args.kwarg is not None)


def _given(call: ast.Call, held: set[str]) -> list[int | str]:
    """Places and keywords of arguments that are held."""
    if any(isinstance(arg, ast.Starred) for arg in call.args) and any(_holds(arg, held) for arg in call.args):
        return [*range(20), *(word.arg for word in call.keywords if word.arg)]  # which place is not known
    places: list[int | str] = [place for place, arg in enumerate(call.args) if _holds(arg, held)]
    return places + [word.arg or "" for word in call.keywords if _holds(word.value, held)]


def _parameters(callee: ast.FunctionDef, given: Iterable[int | str]) -> set[str]:
    names = [arg.arg for arg in (*callee.args.posonlyargs, *callee.args.args)]
    if names[:1] == ["self"]:
        names = names[1:]
    known = {*names, *(arg.arg for arg in callee.args.kwonlyargs)}
    at = {names[place] for place in given if isinstance(place, int) and place < len(names)}
    return at | {name for name in given if isinstance(name, str) and name in known}


def _more(node: ast.AST, held: set[str], callables: Callables) -> set[str]:
    """Names that a part of a function gives what is held."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.For | ast.comprehension):
        pairs = [(node.target, node.iter)]
    elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and node.value is not None:
        pairs = [(node.target, node.value)]
    return {
        name.id
        for target, value in pairs
        if _holds(value, held, callables)
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    } - {"self"}


def _holds(node: ast.AST, held: set[str], callables: Callables | None = None) -> bool:
    """Whether an expression may be a tensor that is held, a view of it, or what holds it."""
    if isinstance(node, ast.Name):
        return node.id in held
    if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        return not _is_size(node) and _holds(node.value, held, callables)
    if isinstance(node, ast.Tuple | ast.List):
        return any(_holds(item, held, callables) for item in node.elts)
    if isinstance(node, ast.Dict):
        return any(_holds(item, held, callables) for item in node.values)
    if isinstance(node, ast.IfExp):
        return _holds(node.body, held, callables) or _holds(node.orelse, held, callables)
    if isinstance(node, ast.BoolOp):
        return any(_holds(item, held, callables) for item in node.values)
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return any(_holds(part.iter, held, callables) for part in node.generators)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id in _HOLDERS and any(_holds(arg, held, callables) for arg in node.args)
    if not isinstance(node.func, ast.Attribute):
        return False
    if ast.unparse(node.func.value) != "self":
        return _holds(node.func.value, held, callables)  # table.view(-1)
    own = callables is not None and any(node.func.attr in methods(cls) for cls in callables.classes)
    return own and any(_holds(part, held, callables) for part in (*node.args, *(word.value for word in node.keywords)))


def _is_size(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("device", "dtype", "ndim", "shape")


def _writes(node: ast.AST, held: set[str]) -> bool:
    """Whether a part of a function writes into what is held."""
    if isinstance(node, ast.Subscript):
        named = isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)  # of a dict
        return isinstance(node.ctx, ast.Store) and not named and _holds(node.value, held)
    if isinstance(node, ast.AugAssign):
        return _holds(node.target, held)
    if not isinstance(node, ast.Call):
        return False
    if any(word.arg == "out" and _holds(word.value, held) for word in node.keywords):
        return True
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return name.endswith("_") and not name.endswith("__") and _holds(node.func.value, held)  # type: ignore[attr-defined]
