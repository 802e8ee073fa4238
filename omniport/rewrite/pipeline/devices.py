"""The device of a pipeline is ``self.device``: methods that every caller gives it do not take it as a parameter.

The reference's pipelines run where their hooks have put the models, so that ``device`` goes through every method, each
with ``device = device or self._execution_device``.  A worker of vLLM-Omni has one device, set in the constructor.
"""

from __future__ import annotations

import ast
import dataclasses
from collections import Counter
from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    assigned,
    changed,
    indented,
    parse,
    suite,
    without_lines,
)
from omniport.rewrite.pipeline.docs import trim
from omniport.rewrite.pipeline.rename import replace_names
from omniport.rewrite.pipeline.unused import without_last_comma
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.nodes import each_node
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

DEVICE = "self.device"


@dataclasses.dataclass
class _Method:
    """What is asked of a method.

    ``parameters`` behind ``self``, in order, and those with None as default; ``bindings``: the value of each
    ``name = value``, whose ``targets`` are kept, and empty for other bindings; ``loads``: how often a name is read;
    ``mentions``: how often it names an attribute of the object.  ``device`` are its names for the device, ``dropped``
    the parameters among them.
    """

    body: list[ast.stmt]
    parameters: list[str]
    optional: set[str]
    bindings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    loads: Counter[str] = dataclasses.field(default_factory=Counter)
    mentions: Counter[str] = dataclasses.field(default_factory=Counter)
    calls: list[ast.Call] = dataclasses.field(default_factory=list)
    targets: set[ast.Name] = dataclasses.field(default_factory=set)
    device: set[str] = dataclasses.field(default_factory=set)
    dropped: set[str] = dataclasses.field(default_factory=set)


def on_own_device(methods: Sequence[cst.FunctionDef], owner: str) -> list[cst.FunctionDef]:
    """The methods of class ``owner``, those that are always given ``self.device`` without the parameter.

    A method that something uses in another way than by ``self.method(...)`` keeps its parameters, and so does one
    that rebinds its device.
    """
    if not any("device" in p.name.value for m in methods for p in all_parameters(m.params)):
        return list(methods)
    short = [_on_one_line(m) for m in methods]
    found = {m.name.value: _method(m, owner) for m in short}
    if len(found) < len(methods) or any(DEVICE in m.bindings for n, m in found.items() if n != "__init__"):
        return list(methods)
    sites = _sites(found)
    while any(_decide(method, sites[name]) for name, method in found.items() if sites[name]):
        pass
    if not any(m.dropped for m in found.values()):
        return list(methods)
    pairs = zip(methods, short, strict=True)
    return [_rewritten(one if found[m.name.value].dropped else m, found) for m, one in pairs]


def _on_one_line(method: cst.FunctionDef) -> cst.FunctionDef:
    """The method with ``x = x or self.device`` for ``if x is None: x = self.device``."""
    block = [_guard(node) or node for node in suite(method.body)]
    return changed(method, body=indented(block, method.body))


def _guard(node: Statement) -> Statement | None:
    if not isinstance(node, cst.If) or node.orelse is not None or not isinstance(node.test, cst.Comparison):
        return None
    name, *rest = code(node.test).strip().split(maxsplit=1)
    body = suite(node.body)
    found = assigned(body[0]) if len(body) == 1 else None
    if rest != ["is None"] or found is None or found[0] != name or dotted(found[1]) != DEVICE:
        return None
    return parse(f"{name} = {name} or {DEVICE}\n")[0].with_changes(leading_lines=node.leading_lines)


def _method(node: cst.FunctionDef, owner: str) -> _Method:
    tree = ast.parse(code(node)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = tree.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)][1:]
    plain = arguments.vararg is None and arguments.kwarg is None and not arguments.kwonlyargs
    free = all(isinstance(d, ast.Call) and _text(d.func) == "torch.no_grad" for d in tree.decorator_list)
    defaults = zip(reversed(names), reversed(arguments.defaults), strict=False)
    method = _Method(tree.body, names if plain and free else [], {n for n, d in defaults if _text(d) == "None"})
    for statement in tree.body:
        for inner in each_node(statement):
            _note(method, inner, owner)
    method.device = {n for n, values in method.bindings.items() if n not in names and set(values) == {DEVICE}}
    return method


def _note(method: _Method, node: ast.AST, owner: str) -> None:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            method.loads[node.id] += 1
        elif node not in method.targets:
            method.bindings.setdefault(node.id, []).append("")
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id in ("self", owner):
            method.mentions[node.attr] += 1
            if not isinstance(node.ctx, ast.Load):
                method.bindings.setdefault(f"self.{node.attr}", []).append("")
    elif isinstance(node, ast.Call):
        method.calls.append(node)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and node.value.isidentifier():
            method.mentions[node.value] += 1  # for ``getattr``
    elif isinstance(node, ast.arg):
        method.bindings.setdefault(node.arg, []).append("")  # of a function in the method
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        method.targets.add(node.targets[0])  # which comes later
        method.bindings.setdefault(node.targets[0].id, []).append(_text(node.value))


def _text(node: ast.expr) -> str:
    """The source of what can stand for a device: ``None``, a name, ``self.x``, ``a or b`` of these; else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        return " or ".join(map(_text, node.values))
    return "None" if isinstance(node, ast.Constant) and node.value is None else ""


Site = tuple[_Method, dict[str, str]]


def _sites(methods: dict[str, _Method]) -> dict[str, list[Site]]:
    """For each method the calls of it: the caller, and parameter -> argument; none if another use is made of it."""
    calls: dict[str, list[Site]] = {name: [] for name in methods}
    uses: Counter[str] = Counter()
    for caller in methods.values():
        uses += caller.mentions
        for call in caller.calls:
            name = _text(call.func).removeprefix("self.")
            if name in methods and isinstance(call.func, ast.Attribute):
                given = _given(call, methods[name].parameters)
                if given is not None and _text(call.func) == f"self.{name}":
                    calls[name].append((caller, given))
    return {name: found if len(found) == uses[name] else [] for name, found in calls.items()}


def _given(call: ast.Call, parameters: list[str]) -> dict[str, str] | None:
    if len(call.args) > len(parameters) or any(isinstance(a, ast.Starred) for a in call.args):
        return None
    if any(k.arg is None for k in call.keywords):
        return None
    given = dict(zip(parameters, map(_text, call.args), strict=False))
    return given | {str(k.arg): _text(k.value) for k in call.keywords}


def _decide(method: _Method, sites: list[Site]) -> bool:
    """Whether one more parameter of a method turned out to be the device."""
    for name in method.parameters:
        if name in method.dropped or "device" not in name:
            continue
        guard = f"{name} or {DEVICE}"
        if not {guard} >= set(method.bindings.get(name, ())):
            continue
        absent = (None, "None") if _guarded(method, name, guard) else ()
        values = [(caller, given.get(name)) for caller, given in sites]
        if all(value == DEVICE or value in caller.device or value in absent for caller, value in values):
            method.dropped.add(name)
            method.device.add(name)
            return True
    return False


def _guarded(method: _Method, name: str, guard: str) -> bool:
    """Whether a parameter that may be None is the device before anything else reads it."""
    if name not in method.optional:
        return False
    for node in method.body:
        if isinstance(node, ast.Assign) and _text(node.targets[0]) == name:
            return _text(node.value) == guard
        if any(isinstance(n, ast.Name) and n.id == name for n in each_node(node)):
            return False
    return False


# ------------------------------------------------------------------------------------------------------------- writing
def _rewritten(method: cst.FunctionDef, methods: dict[str, _Method]) -> cst.FunctionDef:
    own = methods[method.name.value]
    new = method
    if any(methods[name].dropped for name in own.mentions if name in methods):
        new = transform(method, _Arguments(methods))
    if own.dropped:
        params = [p for p in new.params.params if p.name.value not in own.dropped]
        new = new.with_changes(params=new.params.with_changes(params=without_last_comma(params)))
        new = _with_names(new, {n: f"{n} or {DEVICE}" for n in own.dropped})
        new = trim(new, [p.name.value for p in params])
    seldom = {n: DEVICE for n in own.device - own.dropped if _reads_left(own, n, methods) < 2}
    return _with_names(new, seldom) if new is not method else new


def _reads_left(caller: _Method, name: str, methods: dict[str, _Method]) -> int:
    """How often ``name`` is read beside the arguments that go."""
    gone = 0
    for call in caller.calls:
        method = methods.get(_text(call.func).removeprefix("self."))
        given = _given(call, method.parameters) if method is not None and method.dropped else None
        gone += sum(given.get(p) == name for p in method.dropped) if given and method is not None else 0
    return caller.loads[name] - gone


def _with_names(method: cst.FunctionDef, bindings: dict[str, str]) -> cst.FunctionDef:
    """The method with ``self.device`` for names, whose lines ``name = value`` go."""
    if not bindings:
        return method

    def binds(line: cst.SimpleStatementLine) -> bool:
        small = line.body[0]
        if not isinstance(small, cst.Assign) or len(small.targets) != 1:
            return False
        return bindings.get(dotted(small.targets[0].target) or "") == code(small.value).strip()

    block: Block = without_lines(suite(method.body), binds)
    if block and len(block) < len(suite(method.body)):
        first = block[0]
        lines = [line for line in first.leading_lines if line.comment is not None]
        block = [first.with_changes(leading_lines=lines), *block[1:]]
    names = dict.fromkeys(bindings, DEVICE)
    new = [replace_names(s, names) if any(n.value in names for n in of_kind(s, cst.Name)) else s for s in block]
    return changed(method, body=indented(new, method.body))


class _Arguments(cst.CSTTransformer):
    """Calls without the arguments of parameters that are gone."""

    def __init__(self, methods: dict[str, _Method]) -> None:
        self.methods = {f"self.{name}": m for name, m in methods.items() if m.dropped}

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        method = self.methods.get(dotted(original_node.func) or "")
        if method is None:
            return updated_node
        gone = {i for i, name in enumerate(method.parameters) if name in method.dropped}
        kept = [
            a
            for i, a in enumerate(updated_node.args)
            if (a.keyword.value not in method.dropped if a.keyword else i not in gone)
        ]
        if len(kept) == len(updated_node.args):
            return updated_node
        return updated_node.with_changes(args=without_last_comma(kept))
