"""Statements: what they read and bind, which names are live, and how to map over nested blocks."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import libcst as cst

from omniport.rewrite.pipeline.walk import reads_of, target_names
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind, walk

Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
Block = list[Statement]
NodeT = TypeVar("NodeT", bound=cst.CSTNode)

#: Functions whose call has no effect, so that an unused result may go.
PURE_CALLS = frozenset(
    {"len", "max", "min", "int", "float", "bool", "str", "tuple", "list", "isinstance", "hasattr", "getattr", "range"}
) | {f"torch.{name}" for name in ("cat", "concat", "stack", "split", "zeros_like", "ones_like")}


#: Methods of dictionaries and tensors without an effect.
PURE_METHODS = frozenset(
    {
        "get",
        "keys",
        "values",
        "items",
        "size",
        "to",
        "float",
        "cpu",
        "unsqueeze",
        "repeat",
        "view",
        "reshape",
        "chunk",
        "item",
    }
) | {"expand", "flatten", "permute", "split", "squeeze", "transpose", "clone"}


def suite(node: cst.BaseSuite) -> Block:
    """The statements of a suite; a one-line suite (``if x: y``) becomes a statement line."""
    if isinstance(node, cst.IndentedBlock):
        return cast("Block", list(node.body))
    return [cst.SimpleStatementLine(body=cast("Sequence[cst.BaseSmallStatement]", node.body))]


def indented(block: Sequence[Statement], old: cst.BaseSuite | None = None) -> cst.IndentedBlock:
    """A block of statements, with the trailing comments of ``old``."""
    if isinstance(old, cst.IndentedBlock):
        return changed(old, body=list(block))
    return cst.IndentedBlock(body=list(block))


def changed(node: NodeT, **changes: Any) -> NodeT:
    """``node.with_changes(...)``; the node itself where every value, or every element of a list, is what it had."""
    for name, new in changes.items():
        old = getattr(node, name)
        lists = isinstance(new, list | tuple) and isinstance(old, list | tuple)
        if new is not old and not (lists and len(new) == len(old) and all(map(operator.is_, new, old))):
            return node.with_changes(**changes)
    return node


def parse(text: str) -> Block:
    """Statements of a piece of source text."""
    return list(cst.parse_module(text).body)


def assigned(node: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    """Name and value of a line ``x = value``."""
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return None
    target = small.targets[0].target
    return (target.value, small.value) if isinstance(target, cst.Name) else None


def same(a: cst.CSTNode, b: cst.CSTNode) -> bool:
    """Equal as text, whitespace and parentheses around the whole aside."""
    return code(bare(a)).split() == code(bare(b)).split()


def bare(node: cst.CSTNode) -> cst.CSTNode:
    """The expression without the parentheses around it."""
    if getattr(node, "lpar", None):
        return node.with_changes(lpar=[], rpar=[])
    return node


def reads(*nodes: cst.CSTNode) -> dict[str, None]:
    """Names loaded anywhere in ``nodes``, in order of first appearance."""
    found: dict[str, None] = {}
    for node in nodes:
        found.update(reads_of(node))
    return found


def small_bound(node: cst.BaseSmallStatement) -> set[str]:
    """Names that a simple statement binds."""
    names: set[str] = set()
    if type(node) is cst.Assign:
        for target in node.targets:
            names |= target_names(target.target)
    elif type(node) is cst.AnnAssign or type(node) is cst.AugAssign:
        names |= target_names(node.target)
    elif isinstance(node, cst.Import | cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
        for alias in node.names:
            name = alias.asname.name if alias.asname else alias.name
            names.add((dotted(name) or "").split(".")[0])
    return names | _walruses(node)


@functools.lru_cache(maxsize=16384)
def _walruses(node: cst.BaseSmallStatement) -> frozenset[str]:
    return frozenset(n for inner in of_kind(node, cst.NamedExpr) for n in target_names(inner.target))


def head_bound(node: Statement) -> set[str]:
    """Names that the head of a compound statement, or a simple line, binds."""
    if type(node) is cst.SimpleStatementLine:
        return set().union(*(small_bound(s) for s in node.body))
    if type(node) is cst.For:
        return target_names(node.target)
    if isinstance(node, cst.With):
        return set().union(*(target_names(i.asname.name) for i in node.items if i.asname)) if node.items else set()
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        return {node.name.value}
    return set()


def inner_blocks(node: Statement) -> list[cst.BaseSuite]:
    """The suites of a compound statement; none for functions and classes, which are scopes of their own."""
    found: list[cst.BaseSuite] = []
    if type(node) is not cst.SimpleStatementLine and isinstance(
        node, cst.If | cst.For | cst.While | cst.With | cst.Try
    ):
        found.append(node.body)
        for part in (getattr(node, "orelse", None), getattr(node, "finalbody", None)):
            if isinstance(part, cst.If):
                found.extend(inner_blocks(part))
            elif part is not None:
                found.append(part.body)
        if isinstance(node, cst.Try):
            found.extend(h.body for h in node.handlers)
    return found


def statements(block: Iterable[Statement]) -> Iterable[Statement]:
    """Every statement of a block and of the blocks inside it, in order."""
    for node in block:
        yield node
        for part in inner_blocks(node):
            yield from statements(suite(part))


def bound(block: Iterable[Statement]) -> set[str]:
    """Names that a block binds anywhere."""
    names: set[str] = set()
    for node in statements(block):
        names |= head_bound(node)
        if type(node) is cst.Try:
            names |= {h.name.name.value for h in node.handlers if h.name and isinstance(h.name.name, cst.Name)}
    return names


def without_lines(block: Sequence[Statement], gone: Callable[[cst.SimpleStatementLine], bool]) -> Block:
    """The block, and the blocks inside it, without the simple lines that are ``gone``; an emptied block passes."""
    return rewrite_lines(block, lambda line: [] if gone(line) else [line], keep=True)


def rewrite_lines(
    block: Sequence[Statement],
    change: Callable[[cst.SimpleStatementLine], Block],
    *,
    keep: bool = False,
    comment: Callable[[str], bool] = lambda _: False,
) -> Block:
    """The block, and the blocks inside it, with ``change`` of every simple line.

    An emptied block passes; a condition without effect that guards nothing any more goes, unless ``keep`` says not to.
    A comment above a line that goes goes with it, unless it heads a section or ``comment`` says that it stays; it then
    stands above the next line, if that has none of its own.
    """
    out: Block = []
    heading: list[cst.EmptyLine] = []
    for node in block:
        if heading and not node.leading_lines:
            node = node.with_changes(leading_lines=heading)
        heading = []
        if isinstance(node, cst.SimpleStatementLine):
            out.extend(new := change(node))
            heading = [] if new else _section(node, comment)
        elif (new := _inside(node, change, keep, comment)) is not None:
            out.append(new)
    return out


def _section(node: cst.SimpleStatementLine, comment: Callable[[str], bool]) -> list[cst.EmptyLine]:
    """The lines above a statement if they head a section (``# 3. Prepare``), which the next statement then opens."""
    lines = list(node.leading_lines)
    texts = [line.comment.value for line in lines if line.comment]
    return lines if any(_SECTION.match(text) or comment(text) for text in texts) else []


_SECTION = re.compile(r"# \d+\.")


def _inside(
    node: Any, change: Callable[[cst.SimpleStatementLine], Block], keep: bool, comment: Callable[[str], bool]
) -> Any:
    if not isinstance(node, cst.If | cst.Else | cst.For | cst.While | cst.With | cst.Try | cst.Finally):
        return node
    body = rewrite_lines(suite(node.body), change, keep=keep, comment=comment)
    changes: dict[str, Any] = {}
    for part in ("orelse", "finalbody"):
        if getattr(node, part, None) is not None:
            changes[part] = _inside(getattr(node, part), change, keep, comment)
    if (
        not body
        and not keep
        and changes.get("orelse") is None
        and (isinstance(node, cst.Else | cst.Finally) or (isinstance(node, cst.If) and pure(node.test)))
    ):
        return None
    changes["body"] = indented(body or [cst.SimpleStatementLine([cst.Pass()])], node.body)
    if isinstance(node, cst.Try):
        changes["handlers"] = [
            changed(
                h,
                body=indented(
                    rewrite_lines(suite(h.body), change, keep=keep, comment=comment)
                    or [cst.SimpleStatementLine([cst.Pass()])],
                    h.body,
                ),
            )
            for h in node.handlers
        ]
    return changed(node, **changes)


def pure(node: cst.CSTNode) -> bool:
    """Whether evaluating the expression has no effect (reading an attribute or an element counts as none)."""
    return all(
        type(inner) not in _EFFECTS
        and (
            type(inner) is not cst.Call
            or dotted(inner.func) in PURE_CALLS
            or (type(inner.func) is cst.Attribute and inner.func.attr.value in PURE_METHODS)
        )
        for inner in walk(node)
    )


_EFFECTS = frozenset({cst.Await, cst.Yield, cst.NamedExpr})
