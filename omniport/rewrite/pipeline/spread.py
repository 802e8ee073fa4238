"""Arguments that are gathered in a dict, and spread in calls alone, stand in the calls.

``extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)`` of the reference asks what the scheduler takes;
for a known one the method is left with ``{"generator": generator}``, which is ``generator=generator`` where it steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, bound, changed, indented, suite
from omniport.rewrite.pipeline.docs import docstring
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

Entries = dict[str, cst.BaseExpression]


def with_entries_spread(entry: cst.FunctionDef, methods: Mapping[str, cst.FunctionDef]) -> cst.FunctionDef:
    """``entry`` without such dicts that it, or one of ``methods``, makes; the same object if there is none."""
    stars = {a.value.value for a in of_kind(entry, cst.Arg) if a.star == "**" and isinstance(a.value, cst.Name)}
    for name in sorted(stars):
        entry = _without(entry, name, methods)
    return entry


def _without(entry: cst.FunctionDef, name: str, methods: Mapping[str, cst.FunctionDef]) -> cst.FunctionDef:
    block = suite(entry.body)
    first = next((i for i, node in enumerate(block) if name in bound([node])), None)
    if first is None or (value := _assigned(block[first], name)) is None:
        return entry
    found = _made(value, methods)
    stores = [node for node in block[first + 1 :] if isinstance(node, cst.SimpleStatementLine) and _stored(node, name)]
    if found is None or not all(_fixed(v, block[first + 1 :]) for v in found.values()):
        return entry
    for store in stores:
        key, stored = _stored(store, name) or ("", None)
        if stored is None or not _fixed(stored, block[first + 1 :]):
            return entry
        found[key] = stored
    spread = [a for a in of_kind(entry, cst.Arg) if a.star == "**" and dotted(a.value) == name]
    if sum(n.value == name for n in of_kind(entry, cst.Name)) != 1 + len(stores) + len(spread):
        return entry
    ahead = block[: block.index(stores[-1])] if stores else []
    if any(a in of_kind(node, cst.Arg) for node in ahead for a in spread):
        return entry  # a call in front of a store
    kept: Block = []
    gap = False
    for node in block:
        gone = node is block[first] or node in stores
        if not gone and gap and not node.leading_lines:
            node = node.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        gap = gone
        kept += [] if gone else [node]
    new = transform(entry.with_changes(body=indented(kept, entry.body)), _Spread(name, found))
    assert isinstance(new, cst.FunctionDef)
    return new


def _assigned(node: Statement, name: str) -> cst.BaseExpression | None:
    """The value of ``name = value``."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    plain = isinstance(small, cst.Assign) and len(small.targets) == 1 and dotted(small.targets[0].target) == name
    return small.value if plain else None  # type: ignore[union-attr]


def _stored(node: Statement, name: str) -> tuple[str, cst.BaseExpression] | None:
    """Key and value of ``name["key"] = value``."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    target = small.targets[0].target if isinstance(small, cst.Assign) and len(small.targets) == 1 else None
    if not isinstance(target, cst.Subscript) or dotted(target.value) != name or len(target.slice) != 1:
        return None
    index = target.slice[0].slice
    key = index.value if isinstance(index, cst.Index) else None
    assert isinstance(small, cst.Assign)
    return (str(key.evaluated_value), small.value) if isinstance(key, cst.SimpleString) else None


def _fixed(value: cst.BaseExpression, later: Block) -> bool:
    """Whether a value is the same wherever it is written in ``later``: a literal, or a name that stays what it is."""
    if isinstance(value, cst.Name):
        return value.value not in bound(later)
    return isinstance(value, cst.Integer | cst.Float)


def _made(value: cst.BaseExpression, methods: Mapping[str, cst.FunctionDef]) -> Entries | None:
    """The entries of ``{}``, and those of ``self.method(...)`` whose body makes a dict of its parameters."""
    if isinstance(value, cst.Dict):
        return None if value.elements else {}
    owner, _, name = (dotted(value.func) or "").rpartition(".") if isinstance(value, cst.Call) else ("", "", "")
    if owner != "self" or name not in methods or not isinstance(value, cst.Call):
        return None
    method = methods[name]
    parameters = [p.name.value for p in all_parameters(method.params)][1:]
    block = suite(method.body)[1 if docstring(method) is not None else 0 :]
    if len(block) < 2 or method.decorators or any(a.star for a in value.args):
        return None
    given = {(a.keyword.value if a.keyword else parameters[i]): a.value for i, a in enumerate(value.args)}
    last = block[-1].body[0] if isinstance(block[-1], cst.SimpleStatementLine) else None
    local = dotted(last.value) if isinstance(last, cst.Return) and last.value is not None else None
    start = _assigned(block[0], local) if local else None
    if local is None or not isinstance(start, cst.Dict) or start.elements:
        return None
    entries: Entries = {}
    for node in block[1:-1]:
        key, stored = _stored(node, local) or ("", None)
        if stored is None or not isinstance(stored, cst.Name) or stored.value not in given:
            return None
        entries[key] = given[stored.value]
    return entries


class _Spread(cst.CSTTransformer):
    def __init__(self, name: str, entries: Entries) -> None:
        self.name, self.entries = name, entries

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        for argument in updated_node.args:
            if argument.star == "**" and dotted(argument.value) == self.name:
                args += [
                    argument.with_changes(
                        star="", keyword=cst.Name(key), value=value, equal=_EQUAL, whitespace_after_star=_NO
                    )
                    for key, value in self.entries.items()
                ]
            else:
                args.append(argument)
        if args and args[-1] is not updated_node.args[-1] and len(args) < len(updated_node.args):
            args[-1] = args[-1].with_changes(comma=updated_node.args[-1].comma)
        return changed(updated_node, args=args)


_NO = cst.SimpleWhitespace("")
_EQUAL = cst.AssignEqual(_NO, _NO)
