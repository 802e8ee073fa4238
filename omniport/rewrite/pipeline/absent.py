"""Statements that use a component which the model does not have: each ends there, so it says so and nothing follows.

The reference calls None there.  Source: optional components of the constructor that ``model_index.json`` leaves out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, changed, indented, inner_blocks, pure, suite
from omniport.rewrite.pipeline.walk import attributes
from omniport.source.syntax import dotted
from omniport.source.walk import children


@functools.cache
def refusal(component: str) -> cst.Raise:
    """``raise ValueError(...)`` that names the component."""
    line = cst.parse_statement(f'raise ValueError("This needs `{component}`, which the model does not have.")\n')
    assert isinstance(line, cst.SimpleStatementLine) and isinstance(line.body[0], cst.Raise)
    return line.body[0]


def refused(block: Sequence[Statement], absent: Mapping[str, str]) -> str:
    """The component that a block only says to be missing; empty if it does more."""
    if len(block) != 1 or not isinstance(block[0], cst.SimpleStatementLine):
        return ""
    return next((c for c in absent.values() if block[0].body[0] is refusal(c)), "")


def whole(block: Sequence[Statement], absent: Mapping[str, str]) -> Block:
    """A block that surely ends in :func:`refusal`: that alone, for the rest of it serves nothing."""
    refuses = refused(block[-1:], absent) and not any(_leaves(node) for node in block[:-1])
    return list(block[-1:]) if refuses else list(block)


def _leaves(node: Statement, looping: bool = False) -> bool:
    """Whether a statement may leave its block other than by an error."""
    if isinstance(node, cst.SimpleStatementLine):
        last = node.body[-1]
        return isinstance(last, cst.Return) or (isinstance(last, cst.Break | cst.Continue) and not looping)
    looping = looping or isinstance(node, cst.For | cst.While)
    return any(_leaves(inner, looping) for part in inner_blocks(node) for inner in suite(part))


def stopped(block: Sequence[Statement], absent: Mapping[str, str], refusing: Mapping[str, str] | None = None) -> Block:
    """``block`` with :func:`refusal` in the place of every statement that surely uses what is not there.

    Statements in ``try`` stay: what they raise may be caught.

    Args:
        block: statements of a method.
        absent: dotted name of each absent component (``self.processor``) -> what it is called.
        refusing: the same for methods (``self.enhance_prompt``) that do no more than say so.
    """
    found: Block = []
    for node in block:
        node = _chosen(node, absent, refusing or {}, found)
        new = _stopped(node, absent, refusing or {})
        found.append(new)
        if new is not node and refused([new], absent):
            break
    return found


def _chosen(node: Statement, absent: Mapping[str, str], refusing: Mapping[str, str], before: Block) -> Statement:
    """``x = used() if test else y`` as ``x = y``, behind an ``if`` of its own for what cannot be used."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) else None
    value = small.value if isinstance(small, cst.Assign) else None
    if not isinstance(value, cst.IfExp):
        return node
    component = next(_used(value.body, absent, refusing), "")
    if not component or next(_used(value.test, absent, refusing), ""):
        return node
    refuse = indented([cst.SimpleStatementLine([refusal(component)])])
    before.append(cst.If(value.test, refuse, leading_lines=node.leading_lines))
    assert isinstance(small, cst.Assign)
    return cst.SimpleStatementLine([small.with_changes(value=value.orelse)])


def _stopped(node: Statement, absent: Mapping[str, str], refusing: Mapping[str, str]) -> Statement:
    for part in _heads(node):
        if component := next(_used(part, absent, refusing), ""):
            return cst.SimpleStatementLine([refusal(component)], leading_lines=node.leading_lines)
    if isinstance(node, cst.If):
        return _if(node, absent, refusing)
    if isinstance(node, cst.For | cst.While | cst.With):
        return changed(node, body=indented(stopped(suite(node.body), absent, refusing), node.body))
    return node


def _if(node: cst.If, absent: Mapping[str, str], refusing: Mapping[str, str]) -> Statement:
    body = whole(stopped(suite(node.body), absent, refusing), absent)
    other: cst.If | cst.Else | None = None
    rest: Block = []
    if isinstance(node.orelse, cst.If):
        inner = _stopped(node.orelse, absent, refusing)
        rest = [inner]
        other = inner if isinstance(inner, cst.If) else cst.Else(indented(rest), inner.leading_lines)
    elif node.orelse is not None:
        rest = whole(stopped(suite(node.orelse.body), absent, refusing), absent)
        other = changed(node.orelse, body=indented(rest, node.orelse.body))
    if pure(node.test) and (component := refused(body, absent)) and component == refused(rest, absent):
        return cst.SimpleStatementLine([refusal(component)], leading_lines=node.leading_lines)
    return changed(node, body=indented(body, node.body), orelse=other)


def _heads(node: Statement) -> list[cst.CSTNode]:
    """What a statement evaluates whenever it runs."""
    if isinstance(node, cst.SimpleStatementLine):
        return list(node.body)
    if isinstance(node, cst.If | cst.While):
        return [node.test]
    if isinstance(node, cst.For):
        return [node.iter]
    return list(node.items) if isinstance(node, cst.With) else []


def _used(node: cst.CSTNode, absent: Mapping[str, str], refusing: Mapping[str, str]) -> Iterator[str]:
    """Components that evaluating ``node`` surely takes an attribute or an element of, or calls."""
    read = attributes(node)
    if any(name[5:] in read for name in (*absent, *refusing)):
        yield from _used_in(node, absent, refusing)


_LATER = frozenset({cst.Lambda, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp})


def _used_in(node: Any, absent: Mapping[str, str], refusing: Mapping[str, str]) -> Iterator[str]:
    kind = type(node)
    if kind in _LATER:
        return
    name = ""
    if kind is cst.Attribute or kind is cst.Subscript:
        name = dotted(node.value) or ""
    elif kind is cst.Call:
        name = dotted(node.func) or ""
        if name in refusing:
            yield refusing[name]
    if name in absent:
        yield absent[name]
    parts = [node.left] if kind is cst.BooleanOperation else [node.test] if kind is cst.IfExp else children(node)
    for part in parts:
        yield from _used_in(part, absent, refusing)
