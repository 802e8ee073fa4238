"""What an expression is on each side of a doubled batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import bare, changed, suite
from omniport.rewrite.pipeline.denoiser import denoiser_calls
from omniport.rewrite.pipeline.split_parts import (
    META,
    META_CALLS,
    Expression,
    chunked,
    doubled,
    factor_removed,
    sides,
    text,
)
from omniport.rewrite.pipeline.walk import named_calls, target_names
from omniport.source.syntax import code, dotted
from omniport.source.transform import replaced
from omniport.source.walk import children, of_kind, walk

_PLACES = frozenset({cst.Name, cst.Attribute, cst.Subscript})


class Sides:
    """Which variables are pairs, and what an expression is on either side.

    Args:
        function: the folded entry.
        flags: method -> position and name of its guidance flag, for methods whose flag only doubles (R4).
        denoisers: dotted names whose call must end up written twice.
    """

    def __init__(
        self,
        function: cst.FunctionDef,
        flags: Mapping[str, tuple[int, str]],
        denoisers: frozenset[str],
    ) -> None:
        self.function, self.flags, self.denoisers = function, flags, denoisers
        self.pairs: dict[str, str] = {}
        self.chosen: dict[str, str] = {}
        self.same: set[str] = set()  # doubled in the source, with equal sides
        self.lost: set[str] = set()  # of whose sides only the positive one is known
        self.copies: dict[str, str] = {}
        self.whole: dict[str, str] = {}  # that a helper doubled, until a draw from it -> under which condition
        self.order = ""
        self.guard: str | None = None
        self.guards = _guards(function, denoisers)
        self.taken = set(re.findall(r"\w+", code(function)))
        self.twice: list[str] = []
        self.halved = 0
        self.tests: list[str] = []

    def half(self, node: cst.Subscript, inside: bool) -> Expression | None:
        """``e.chunk(2)[k]``, and below the guard ``e[:batch]`` and ``e[batch:]``, of a pair ``e``."""
        index = text(node.slice[0]) if len(node.slice) == 1 else ""
        order = self.order or "np"
        base = chunked(node.value)
        if base is not None and index in ("0", "1"):
            negative = self.reads_pair(base, inside) and order[int(index)] == "n"
            return self.side(base, negative, inside)
        name = text(node.value)
        middle = rf"len\({re.escape(name)}\) // 2"
        found = re.fullmatch(rf":\s*\w*batch\w*|\w*batch\w*\s*:|:\s*{middle}|{middle}\s*:", index)
        if inside and found and self.reads_pair(node.value, inside):
            return self.side(node.value, order[0 if index.startswith(":") else 1] == "n", inside)
        return node.value if inside and found and name in self.same else None

    def side(self, node: Expression, negative: bool, inside: bool) -> Expression:
        """What an expression is on one side."""

        def choose(inner: Any) -> cst.CSTNode | None:
            kind = type(inner)
            if kind is cst.Attribute and inner.attr.value in META:
                return inner  # type: ignore[no-any-return]
            if kind is cst.Call or kind is cst.BinaryOperation:
                if (same := doubled(inner, inside)) is not None:
                    return self.side(same, negative, inside)
                if (both := sides(inner)) is not None and inside:
                    self.created(both[2], self.tests[-1])
                    return self.side(both[0] if negative else both[1], negative, inside)
            if kind is cst.Subscript and (half := self.half(inner, inside)) is not None:
                return half
            if negative and self.lost and isinstance(inner, cst.BaseExpression) and text(inner) in self.lost:
                raise self.refuse(f"the negative side of {text(inner)}, of which the step made only the other, is read")
            if negative and kind in _PLACES:
                twin = self.pairs.get(text(inner))
                return cst.parse_expression(twin) if twin is not None else None
            return None

        return _keywords_kept(node, choose)

    def reads_pair(self, node: Any, inside: bool) -> bool:
        """Whether evaluating a node needs both sides, not only what they have in common."""
        kind = type(node)
        if inside and (kind is cst.Call or kind is cst.BinaryOperation) and sides(node) is not None:
            return True
        if kind in _PLACES and (text(node) in self.pairs or text(node) in self.lost):
            return True
        if kind is cst.Attribute:
            return node.attr.value not in META and self.reads_pair(node.value, inside)
        if kind is cst.Call:
            name = node.func.attr.value if type(node.func) is cst.Attribute else text(node.func)
            if name in META_CALLS or name in ("len", "isinstance"):
                return False
        if kind is cst.Comparison and any("None" in text(c.comparator) for c in node.comparisons):
            return False
        if kind is cst.Arg:
            return self.reads_pair(node.value, inside)
        return any(self.reads_pair(c, inside) for c in children(node))

    def created(self, order: str, guard: str) -> None:
        """A pair was made in that order, below that condition."""
        if self.order and order != self.order:
            raise self.refuse("the sides are joined in different orders")
        self.order = order
        self.guard = self.guard or guard

    def is_guard(self, node: Expression) -> bool:
        return text(node) in self.guards

    def twin(self, target: cst.BaseExpression, negative: Expression | None) -> str:
        """The name of the negative twin of ``target``."""
        if (names := bare(target)) and isinstance(names, cst.Tuple):
            return ", ".join(self.twin(e.value, None) for e in names.elements)
        key = text(target)
        if key == "_":
            return "_"
        if key in self.pairs:
            return self.pairs[key]
        if key in self.chosen:
            return self.chosen[key]  # the name that the other branch of a condition has chosen
        if isinstance(negative, cst.Name) and key in (negative.value.replace("negative_", ""), negative.value[4:]):
            return negative.value
        plain = re.sub(r"\W+", "_", key.removeprefix("self.")).strip("_")
        for name in (f"negative_{plain}", f"uncond_{plain}", f"negative_{plain}_branch"):
            if name not in self.taken:
                self.taken.add(name)
                self.chosen[key] = name
                return name
        raise self.refuse(f"no name is free for the twin of {key}")

    def pair(self, target: cst.BaseExpression, twin: str) -> None:
        if isinstance(names := bare(target), cst.Tuple):
            for element, name in zip(names.elements, twin.split(", "), strict=True):
                self.pair(element.value, name)
        elif text(target) != "_":
            self.clear(target)
            self.pairs[text(target)] = twin
            if (found := re.fullmatch(r"self\._(\w+)", text(target))) is not None:
                self.pairs[f"self.{found[1]}"] = twin  # the property of that name

    def clear(self, target: cst.BaseExpression) -> None:
        for name in target_names(bare(target)) or {text(target)}:
            self.pairs.pop(name, None)
            self.lost.discard(name)
            self.same.discard(name)
            self.copies = {k: v for k, v in self.copies.items() if name not in (k, v)}

    def copied(self, target: cst.BaseExpression, value: Expression) -> Expression:
        """``value``, as a clone where the copy is written to later."""
        key = text(target)
        written = (t.target for t in of_kind(self.function, cst.AssignTarget))
        if any(isinstance(place, cst.Subscript) and text(place.value) == key for place in written):
            return cst.parse_expression(f"({text(value)}).clone()" if not dotted(value) else f"{text(value)}.clone()")
        return value

    def unfactored(self, value: Expression) -> Expression:
        """``2 * b if guard else b`` is ``b``."""

        def choose(node: cst.CSTNode) -> cst.CSTNode | None:
            if (
                type(node) is cst.IfExp
                and self.is_guard(node.test)
                and text(factor_removed(node.body)) == text(node.orelse) != text(node.body)
            ):
                return node.orelse
            return None

        return replaced(value, choose)

    def flagged(self, value: Expression) -> Expression:
        """R4: calls of helpers whose flag only doubles, with False."""

        def choose(node: cst.CSTNode) -> cst.CSTNode | None:
            if type(node) is not cst.Call or (dotted(node.func) or "")[5:] not in self.flags:
                return None
            position, name = self.flags[(dotted(node.func) or "")[5:]]
            off = cst.Name("False")
            arguments = [
                a.with_changes(value=off) if (a.keyword.value == name if a.keyword else i == position) else a
                for i, a in enumerate(node.args)
            ]
            return node.with_changes(args=arguments)

        return replaced(value, choose) if self.flags and _calls_one(value, self.flags) else value

    def refuse(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"the doubled batch cannot be split: {what}")


def _calls_one(value: Expression, helpers: Collection[str]) -> bool:
    return any(name[5:] in helpers for name, _ in named_calls(value))


def _keywords_kept(node: Expression, choose: Callable[[cst.CSTNode], cst.CSTNode | None]) -> Expression:
    """:func:`replaced`, leaving names of keyword arguments and attributes alone."""

    def guarded(inner: cst.CSTNode) -> cst.CSTNode | None:
        if type(inner) is cst.Arg:
            return changed(inner, value=_keywords_kept(inner.value, choose))
        if type(inner) is cst.Attribute:
            new = choose(inner)
            return new if new is not None else changed(inner, value=_keywords_kept(inner.value, choose))
        return choose(inner)

    return replaced(node, guarded)


def _guards(function: cst.FunctionDef, denoisers: frozenset[str]) -> frozenset[str]:
    """Texts of the conditions below which sides are joined or values doubled."""
    found: set[str] = set()
    for choice in of_kind(function, cst.IfExp):
        if doubled(choice.body, True) is not None or sides(choice.body) is not None:
            found.add(text(choice.test))
    for node in of_kind(function, cst.If):
        for statement in suite(node.body):
            small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
            if isinstance(small, cst.Assign) and (_joins(small.value) or _joins_for(small.value, denoisers)):
                found.add(text(node.test))
    return frozenset(found) | {"self.do_classifier_free_guidance", "do_classifier_free_guidance"}


def _joins(value: Expression) -> bool:
    inner = value.elt if isinstance(value, cst.ListComp) else value
    return doubled(value, True) is not None or sides(inner) is not None


def _joins_for(value: Expression, denoisers: frozenset[str]) -> bool:
    """Whether two sides are joined in the arguments of a denoiser call."""
    return any(
        sides(n) is not None
        for call in denoiser_calls(value, denoisers)
        for n in walk(call)
        if isinstance(n, cst.Call | cst.BinaryOperation)
    )
