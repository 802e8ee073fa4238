"""A dict of attention arguments that a forward makes itself: a variable for each entry, a parameter in its blocks.

``kwargs = {"kv_cache": None, "kv_cache_mode": mode}`` and ``block(x, attention_kwargs=kwargs)`` hide from every reader
what reaches the attention; ``block(x, kv_cache=kv_cache, kv_cache_mode=mode)`` says it.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.source.slice import marker
from omniport.source.syntax import constant, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

#: List of blocks -> the parameters that its attention takes, by name.
Taken = Mapping[str, Mapping[str, cst.Param]]
#: List of blocks -> the parameter of a block that was a dict, and the parameters in its place.
Spread = dict[str, tuple[tuple[str, tuple[cst.Param, ...]]]]


def dissolve_dicts(node: cst.ClassDef, taken: Taken, empty: Collection[str]) -> tuple[cst.ClassDef, Spread]:
    """The root with the dicts dissolved that its forward hands to the lists in ``taken``.

    Args:
        empty: parameters of the forward that are dicts without entries.

    Raises:
        UnsupportedError: such a dict is made or read in another way, or holds what the attention does not take.
    """
    forward = next((f for f in node.body.body if isinstance(f, cst.FunctionDef) and f.name.value == "forward"), None)
    if forward is None:
        return node, {}
    handed = {(name, *use) for name in taken for use in _handed(forward, name)}
    stored = (_stored(line) for line in of_kind(forward.body, cst.SimpleStatementLine))
    made = {name for name, key, value in filter(None, stored) if key is None and isinstance(value, cst.Dict)}
    handed = {(name, parameter, held) for name, parameter, held in handed if held in made}
    if not handed:
        return node, {}
    dicts = _Dicts(forward, {held for _, _, held in handed}, frozenset(empty))
    dicts.read()
    found: Spread = {}
    for name, parameter, held in sorted(handed):
        keys = dicts.keys[held]
        if name in found or not set(keys) <= taken[name].keys():
            raise dicts.refused(forward, held)
        found[name] = ((parameter, tuple(taken[name][key] for key in keys)),)
    defaults: dict[str, cst.BaseExpression] = {}
    for table in taken.values():
        for key, param in table.items():
            if param.default is not None:
                known = defaults.setdefault(key, param.default)
                if constant(known) is ... or constant(known) != constant(param.default):
                    raise UnsupportedError(f"{key} has several defaults", *(marker(forward) or ("", 0)))
    new = transform(forward, _Dissolve(dicts, defaults))
    members = [new if member is forward else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members)), found


def _handed(forward: cst.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    """Parameter and variable of each keyword that the blocks of a list are called with."""
    for loop in of_kind(forward.body, cst.For):
        listed = loop.iter.args[0].value if _enumerates(loop.iter) else loop.iter  # type: ignore[attr-defined]
        block = loop.target.elements[1].value if isinstance(loop.target, cst.Tuple) else loop.target
        for call in of_kind(loop.body, cst.Call) if dotted(listed) == f"self.{name}" else ():
            if isinstance(block, cst.Name) and dotted(call.func) == block.value:
                for argument in call.args:
                    if argument.keyword is not None and isinstance(argument.value, cst.Name):
                        yield argument.keyword.value, argument.value.value


def _enumerates(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and dotted(node.func) == "enumerate" and len(node.args) == 1


@dataclass
class _Dicts:
    """The dicts of a forward, by the variables that hold them."""

    forward: cst.FunctionDef
    names: set[str]
    empty: frozenset[str]
    keys: dict[str, list[str]] = field(default_factory=dict)

    def refused(self, node: cst.CSTNode, name: str) -> UnsupportedError:
        where = marker(node) or marker(self.forward) or ("", 0)
        return UnsupportedError(
            f"the attention arguments in {name} are made or read in a way that no rule knows", *where
        )

    def read(self) -> None:
        """The keys of each dict, and of those that they are made of."""
        lines = of_kind(self.forward.body, cst.SimpleStatementLine)
        before = -1
        while before != (before := len(self.names) + sum(map(len, self.keys.values()))):  # until nothing is added
            for line in lines:
                self.line(line)
        known = sum(self.in_place(line) for line in lines)
        reads = [part for part in walk(self.forward.body) if isinstance(part, cst.Name) and part.value in self.names]
        if known != len(reads):
            raise self.refused(self.forward, min(self.names))
        self.unshared(lines)

    def line(self, line: cst.SimpleStatementLine) -> None:
        stored = _stored(line)
        if stored is None or stored[0] not in self.names:
            return
        name, key, value = stored
        keys = self.keys.setdefault(name, [])
        if key is not None:
            keys += [key] if key not in keys else []
            return
        parts = self.parts(value)
        if parts is None:
            raise self.refused(line, name)
        for held, entry in parts:
            if held is not None and held not in self.empty:
                self.names.add(held)
            more = self.keys.setdefault(held, []) if held in self.names and held is not None else [entry or ""]
            keys += [k for k in more if k and k not in keys]

    def parts(self, value: cst.BaseExpression) -> list[tuple[str | None, str | None]] | None:
        """What a dict is made of, in order: a variable with another dict, or a key; None if that is not known."""
        if isinstance(value, cst.Name):
            return [(value.value, None)] if value.value != "None" else []
        if not isinstance(value, cst.Dict):
            return None
        found: list[tuple[str | None, str | None]] = []
        for element in value.elements:
            key = constant(element.key) if isinstance(element, cst.DictElement) else None
            held = None if isinstance(element, cst.DictElement) else _or_empty(element.value)
            if isinstance(key, str) and key.isidentifier():
                found.append((None, key))
            elif held is not None:
                found.append((held, None))
            else:
                return None
        return found

    def in_place(self, line: cst.SimpleStatementLine) -> int:
        """How many of the reads and stores of dicts in a line are of a known form."""
        stored = _stored(line)
        count = 0
        if stored is not None and stored[0] in self.names:
            count += 1
            for held, _ in (self.parts(stored[2]) or ()) if stored[1] is None else ():
                count += held in self.names
        calls = [a for call in of_kind(line, cst.Call) for a in call.args if not a.star]
        return count + sum(isinstance(a.value, cst.Name) and a.value.value in self.names for a in calls)

    def unshared(self, lines: Sequence[cst.SimpleStatementLine]) -> None:
        """Refuse ``b = a`` before ``a`` is read again: entries that one gets, the other would have."""
        for number, line in enumerate(lines):
            stored = _stored(line)
            if stored is None or stored[1] is not None or not isinstance(stored[2], cst.Name):
                continue
            name, held = stored[0], stored[2].value
            again = any(held in {n.value for n in of_kind(other, cst.Name)} for other in lines[number + 1 :])
            looped = any(line in of_kind(loop, cst.SimpleStatementLine) for loop in of_kind(self.forward.body, cst.For))
            if name in self.names and held in self.names and (again or looped):
                raise self.refused(line, name)

    def variable(self, name: str, key: str) -> str:
        """The variable for an entry."""
        return f"{name.replace('_kwargs', '')}_{key}"


def _or_empty(value: cst.BaseExpression) -> str | None:
    """The name in ``name`` or ``name or {}``."""
    empty = isinstance(value, cst.BooleanOperation) and isinstance(value.operator, cst.Or)
    if empty and constant(value.right) == {}:  # type: ignore[attr-defined]
        value = value.left  # type: ignore[attr-defined]
    return value.value if isinstance(value, cst.Name) else None


def _stored(line: cst.SimpleStatementLine) -> tuple[str, str | None, cst.BaseExpression] | None:
    """Variable, key (of ``name["key"] = value``) and value of an assignment to one name."""
    small = line.body[0]
    if len(line.body) != 1 or not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return None
    target = small.targets[0].target
    if isinstance(target, cst.Name):
        return target.value, None, small.value
    if not isinstance(target, cst.Subscript) or not isinstance(target.value, cst.Name) or len(target.slice) != 1:
        return None
    index = target.slice[0].slice
    key = constant(index.value) if isinstance(index, cst.Index) else None
    return (target.value.value, key, small.value) if isinstance(key, str) and key.isidentifier() else None


class _Dissolve(cst.CSTTransformer):
    def __init__(self, dicts: _Dicts, defaults: Mapping[str, cst.BaseExpression]) -> None:
        self.dicts, self.defaults = dicts, defaults

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine]:
        stored = _stored(updated_node)
        if stored is None or stored[0] not in self.dicts.names:
            return updated_node
        name, key, value = stored
        entries = {key: value} if key is not None else self.entries(original_node, name, value)
        lines = [
            updated_node.with_changes(
                body=[cst.Assign([cst.AssignTarget(cst.Name(self.dicts.variable(name, each)))], entry.deep_clone())],
                leading_lines=updated_node.leading_lines if number == 0 else (),
            )
            for number, (each, entry) in enumerate(entries.items())
        ]
        return lines[0] if len(lines) == 1 else cst.FlattenSentinel(lines)

    def entries(
        self, line: cst.SimpleStatementLine, name: str, value: cst.BaseExpression
    ) -> dict[str, cst.BaseExpression]:
        """Each entry of a dict that is made, one that it lacks being what the attention takes for it."""
        found = {key: self.defaults.get(key) for key in self.dicts.keys[name]}
        elements = value.elements if isinstance(value, cst.Dict) else ()
        values = iter(element.value for element in elements if isinstance(element, cst.DictElement))
        for held, key in self.dicts.parts(value) or ():
            if key is not None:
                found[key] = next(values)
            elif held in self.dicts.names and held is not None:
                found |= {k: cst.Name(self.dicts.variable(held, k)) for k in self.dicts.keys[held]}
        if missing := [key for key, entry in found.items() if entry is None]:
            raise self.dicts.refused(line, f"{name} without {missing[0]}")
        return {key: entry for key, entry in found.items() if entry is not None}

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        for argument in updated_node.args:
            held = argument.value.value if isinstance(argument.value, cst.Name) else None
            if held is None or held not in self.dicts.names:
                args.append(argument)
                continue
            for key in self.dicts.keys[held]:
                entry = argument.with_changes(value=cst.Name(self.dicts.variable(held, key)))
                args.append(entry.with_changes(keyword=cst.Name(key)) if argument.keyword is not None else entry)
        same = len(args) == len(updated_node.args) and all(map(operator.is_, args, updated_node.args))
        return updated_node if same else updated_node.with_changes(args=args)
