"""Parameters and attributes that nothing reads any more are taken out, with the arguments that fed them."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import libcst as cst

from omniport.rewrite.builds import constructors
from omniport.rewrite.syntax import assignment, dotted, method, self_attribute, variables
from omniport.source.transform import transform
from omniport.source.walk import children, of_kind

_Item = TypeVar("_Item", cst.Arg, cst.Param)


def prune(module: cst.Module, root: str) -> cst.Module:
    """Remove unused constructor parameters and attributes of all classes but the root, until there is none."""
    while True:
        inits = {
            node.name.value: init
            for node in module.body
            if isinstance(node, cst.ClassDef) and (init := method(node, "__init__")) is not None
        }
        params = {name: [param.name.value for param in init.params.params[1:]] for name, init in inits.items()}
        unused = {name: set(params[name]) - set(variables(inits[name].body)) for name in inits if name != root}
        builders = [f for node in module.body if isinstance(node, cst.ClassDef) for f in constructors(node).values()]
        for function in builders:
            _keep_positional(function, params, unused)
        reads = _attributes(module)
        stale = {name: _stale(init, reads) for name, init in inits.items() if name != root}
        if not any(unused.values()) and not any(stale.values()):
            return module
        body = []
        for node in module.body:
            if isinstance(node, cst.ClassDef) and node.name.value in inits:
                name, init = node.name.value, inits[node.name.value]
                changed = transform(init, _Prune(unused, unused.get(name, set()), stale.get(name, set())))
                calls = {id(f): transform(f, _Arguments(unused)) for f in constructors(node).values() if f is not init}
                items = [changed if item is init else calls.get(id(item), item) for item in node.body.body]
                body.append(node.with_changes(body=node.body.with_changes(body=items)))
            else:
                body.append(node)  # type: ignore[arg-type]
        module = module.with_changes(body=body)


def _attributes(module: cst.Module) -> Counter[str]:
    """How often each attribute is used, but for lines that only set it."""
    used = Counter(node.attr.value for node in of_kind(module, cst.Attribute))
    for line in of_kind(module, cst.Assign):
        if name := self_attribute(line.targets[0].target):
            used[name] -= 1
    return used


def _keep_positional(function: cst.FunctionDef, params: dict[str, list[str]], unused: dict[str, set[str]]) -> None:
    """A parameter that some call fills by position stays: the arguments after it would move."""
    for call in of_kind(function, cst.Call):
        name = dotted(call.func)
        if name in unused:
            unused[name] -= set(params[name][: sum(arg.keyword is None for arg in call.args)])


def _stale(init: cst.FunctionDef, reads: Counter[str]) -> set[str]:
    """Attributes that are set from a value without calls and never read, by any class."""
    found = set()
    for line in init.body.body:
        pair = assignment(line)
        name = self_attribute(pair[0]) if pair is not None else ""
        if pair is not None and name and not reads[name] and not _calls(pair[1]):
            found.add(name)
    return found


def _calls(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) or any(_calls(child) for child in children(node))


def _closed(items: list[_Item]) -> list[_Item]:
    """``items`` without a comma after the last."""
    last = [item.with_changes(comma=cst.MaybeSentinel.DEFAULT) for item in items[-1:]]
    return items[:-1] + last


class _Arguments(cst.CSTTransformer):
    """Takes out the arguments for parameters that go."""

    def __init__(self, unused: dict[str, set[str]]) -> None:
        self.unused = unused

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        unused = self.unused.get(dotted(original_node.func), set())
        kept = [arg for arg in updated_node.args if arg.keyword is None or arg.keyword.value not in unused]
        return updated_node.with_changes(args=_closed(kept)) if len(kept) < len(updated_node.args) else updated_node


class _Prune(_Arguments):
    """Changes one constructor: arguments of the calls in it, its own parameters, its stale lines."""

    def __init__(self, unused: dict[str, set[str]], own: set[str], stale: set[str]) -> None:
        super().__init__(unused)
        self.own, self.stale = own, stale

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        params = [param for param in updated_node.params.params if param.name.value not in self.own]
        return updated_node.with_changes(params=updated_node.params.with_changes(params=_closed(params)))

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(original_node)
        stale = pair is not None and self_attribute(pair[0]) in self.stale
        return cst.RemoveFromParent() if stale else updated_node
