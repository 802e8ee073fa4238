"""Modules that a constructor may leave out: ``nn.Identity`` where they are applied, no attribute where they are called.

``if self.norm_q is not None: query = self.norm_q(query)`` is what the hand-written ports write as
``query = self.norm_q(query)``, with ``nn.Identity()`` in the constructor; both have the same parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.negation import negated
from omniport.rewrite.syntax import assignment, assignments, code, method, self_attribute, statements
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

WIDTH = 112  # columns of a line of a constructor

_IDENTITY = "nn.Identity()"


def settle_optional(module: cst.Module, root: str) -> cst.Module:
    """``module`` with its optional modules always there, or not mentioned where they are absent.

    The root stays as it is: pipelines read its attributes.
    """
    inits = [method(node, "__init__") for node in module.body if isinstance(node, cst.ClassDef)]
    if not any(_absent(init) for init in inits if init is not None):
        return module
    outside = _outside(module)
    body = [
        _settled(node, outside) if isinstance(node, cst.ClassDef) and node.name.value != root else node
        for node in module.body
    ]
    return module.with_changes(body=body)


def _outside(module: cst.Module) -> set[str]:
    """Attributes that are read of anything but ``self``, and words in strings, which may name an attribute."""
    found = {node.attr.value for node in of_kind(module, cst.Attribute) if not self_attribute(node)}
    return found | {text for node in of_kind(module, cst.SimpleString) if (text := node.raw_value).isidentifier()}


def _settled(node: cst.ClassDef, outside: set[str]) -> cst.ClassDef:
    init = method(node, "__init__")
    if init is None or not (absent := _absent(init) - outside):
        return node
    uses: Counter[str] = Counter()
    applied: Counter[str] = Counter()
    called: Counter[str] = Counter()
    for part in walk(node):
        name = self_attribute(part) if isinstance(part, cst.Attribute) else ""
        if name in absent:
            uses[name] += 1
        elif isinstance(part, cst.If) and (guarded := _applied(part)) is not None:
            applied[guarded] += 2  # the test and the call
        elif isinstance(part, cst.Call):
            called[self_attribute(part.func)] += 1
    stores = Counter(name for target, _ in assignments(init) if (name := self_attribute(target)) in absent)
    choices = {name for part in init.body.body for name in _choices(part)}
    identity = {n for n in absent & choices if applied[n] and stores[n] == 2 and uses[n] == applied[n] + 2}
    unread = {n for n in (absent & choices) - identity if called[n] and uses[n] == called[n] + stores[n]}
    if not identity and not unread:
        return node
    items = [
        item.with_changes(body=item.body.with_changes(body=_lines(item.body.body, identity, unread)))
        if item is init
        else transform(item, _Apply(identity))
        for item in node.body.body
    ]
    return node.with_changes(body=node.body.with_changes(body=items))


def _stored(line: cst.CSTNode) -> str:
    """``x`` of a line ``self.x = value``."""
    pair = assignment(line)
    return self_attribute(pair[0]) if pair is not None else ""


def _is_none(line: cst.CSTNode) -> bool:
    pair = assignment(line)
    return pair is not None and isinstance(pair[1], cst.Name) and pair[1].value == "None"


def _absent(init: cst.FunctionDef) -> set[str]:
    """Attributes that some branch of a constructor sets to None."""
    return {_stored(line) for line in of_kind(init, cst.SimpleStatementLine) if _is_none(line)} - {""}


def _branches(node: cst.CSTNode) -> tuple[list[cst.CSTNode], list[cst.CSTNode]]:
    """The lines of the two branches of an ``if`` with a plain ``else``."""
    if isinstance(node, cst.If) and isinstance(node.orelse, cst.Else):
        return list(node.body.body), list(node.orelse.body.body)
    return [], []


def _choices(node: cst.CSTNode) -> set[str]:
    """Attributes that one branch of ``node`` sets to None, the other to what a call returns."""
    sides: list[dict[str, cst.CSTNode]] = [{_stored(line): line for line in lines} for lines in _branches(node)]
    found = set()
    for name in sides[0].keys() & sides[1].keys() - {""}:
        pairs = [assignment(side[name]) for side in sides]
        made = [isinstance(pair[1], cst.Call) for pair in pairs if pair is not None]
        if sum(made) == 1 and sum(_is_none(side[name]) for side in sides) == 1:
            found.add(name)
    return found


def _applied(node: cst.If) -> str | None:
    """``norm`` of ``if self.norm is not None: x = self.norm(x)``."""
    lines = node.body.body if node.orelse is None else ()
    pair = assignment(lines[0]) if len(lines) == 1 else None
    if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(pair[1], cst.Call):
        return None
    name, call = self_attribute(pair[1].func), pair[1]
    plain = len(call.args) == 1 and code(call.args[0]) == pair[0].value
    return name if name and plain and code(node.test) == f"self.{name} is not None" else None


class _Apply(cst.CSTTransformer):
    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.BaseStatement:
        if _applied(original_node) not in self.names:
            return updated_node
        line = updated_node.body.body[0]
        assert isinstance(line, cst.SimpleStatementLine)
        return line.with_changes(leading_lines=[*updated_node.leading_lines, *line.leading_lines])


def _lines(body: Sequence[cst.CSTNode], identity: set[str], unread: set[str]) -> list[cst.CSTNode]:
    """The lines of a constructor, rewritten."""
    made: list[cst.CSTNode] = []
    for line in body:
        made += _choice(line, identity, unread) if isinstance(line, cst.If) else [line]
    return made


def _choice(node: cst.If, identity: set[str], unread: set[str]) -> Sequence[cst.CSTNode]:
    """An ``if`` of a constructor, rewritten; its names of ``identity`` are set in both branches."""
    if not isinstance(node.orelse, cst.Else):
        inner = _lines(node.body.body, identity, unread)
        return [node.with_changes(body=node.body.with_changes(body=inner))] if inner else [node]
    sides = [[line for line in lines if not (_is_none(line) and _stored(line) in unread)] for lines in _branches(node)]
    if not sides[0] and not sides[1]:
        return []
    test = node.test
    if not sides[0]:
        test, sides = negated(test), [sides[1], []]
    if all(_stored(line) in identity for side in sides for line in side):
        short = _conditional(test, sides)
        if short is not None:
            return _led(node, short)
    whole = [[_present(line) if _stored(line) in identity else line for line in side] for side in sides]
    orelse = node.orelse.with_changes(body=node.orelse.body.with_changes(body=whole[1])) if whole[1] else None
    return [node.with_changes(test=test, body=node.body.with_changes(body=whole[0]), orelse=orelse)]


def _present(line: cst.CSTNode) -> cst.CSTNode:
    """``self.norm = nn.Identity()`` in place of None."""
    return statements(f"self.{_stored(line)} = {_IDENTITY}\n")[0] if _is_none(line) else line


def _conditional(test: cst.BaseExpression, sides: list[list[cst.CSTNode]]) -> list[cst.BaseStatement] | None:
    """One line for each attribute; None if a line would be too long or a comment would be lost."""
    lines = []
    for name in [_stored(line) for line in sides[0]]:
        pairs = [assignment(line) for side in sides for line in side if _stored(line) == name]
        values = [pair[1] for pair in pairs if pair is not None]
        if len(values) != 2:
            return None
        condition = test
        if code(values[0]) == "None":
            condition, values = negated(test), values[::-1]
        lines.append(f"self.{name} = {code(values[0])} if {code(condition)} else {_IDENTITY}\n")
    fits = all(len(line) <= WIDTH and line.count("\n") == 1 for line in lines)
    comments = any("#" in code(line) for side in sides for line in side)
    return statements("".join(lines)) if fits and not comments else None


def _led(node: cst.If, lines: list[cst.BaseStatement]) -> list[cst.BaseStatement]:
    """``lines`` with what stands before ``node``."""
    first = lines[0]
    assert isinstance(first, cst.SimpleStatementLine)
    return [first.with_changes(leading_lines=node.leading_lines), *lines[1:]]
