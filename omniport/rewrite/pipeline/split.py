"""Guidance over a doubled batch as two calls: every value that holds both sides gets a negative twin.

An abstract interpretation in statement order.  A variable is plain, or one of a pair whose negative twin has a name of
its own.  R1: a concatenation of a negative-like and another side, below a condition, creates a pair.  R2: a value put
beside itself is the value.  R3: a statement that reads a pair (not merely its dtype, device or shape) is written twice.
R4: helpers whose guidance flag only doubles are called with False.  R5: halving a pair gives its two sides.  R6: where
guidance is off there is only the positive side.  R8: a call that names
perturbed blocks is made of the positive side.  What no rule covers is refused, so that the caller can keep the batch.
"""

from __future__ import annotations

import re

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    bare,
    bound,
    changed,
    indented,
    parse,
    pure,
    reads,
    suite,
)
from omniport.rewrite.pipeline.liveness import drop_dead_stores, live_in
from omniport.rewrite.pipeline.perturbed import perturbed
from omniport.rewrite.pipeline.split_drawn import Drawn
from omniport.rewrite.pipeline.split_parts import (
    Expression,
    chunked,
    doubled,
    factor_removed,
    sides,
    text,
)
from omniport.rewrite.pipeline.walk import target_names
from omniport.source.syntax import code, conjuncts, dotted
from omniport.source.walk import walk


class Split(Drawn):
    """Splits one function, statement by statement."""

    def run(self) -> cst.FunctionDef:
        """The function in sequential form.

        Raises:
            UnsupportedError: no rule proves the split.
        """
        block = self.block(suite(self.function.body), False, False)
        if not self.guard:
            raise self.refuse("no concatenation of a negative and a positive side below a condition")
        if not any(d in line for line in self.twice for d in self.denoisers):
            raise self.refuse("the denoiser reads no value that holds both sides")
        if not self.halved:
            raise self.refuse("the prediction is not halved in a way that is known")
        return self.function.with_changes(body=indented(block, self.function.body))

    # --------------------------------------------------------------------------------------------------- statements
    def block(self, block: Block, inside: bool, off: bool) -> Block:
        out: Block = []
        for node in block:
            new = self.statement(node, inside, off)
            if new and not new[0].leading_lines and node.leading_lines:
                new = [new[0].with_changes(leading_lines=node.leading_lines), *new[1:]]
            for one in new:
                if out and _merges(out[-1], one):
                    out[-1] = _merged(out[-1], one)  # type: ignore[arg-type]
                else:
                    out.append(one)
        return out

    def statement(self, node: Statement, inside: bool, off: bool) -> Block:
        if isinstance(node, cst.SimpleStatementLine):
            return self.line(node, inside, off)
        if isinstance(node, cst.If):
            return self.branch(node, inside, off)
        if isinstance(node, cst.For | cst.While):
            head = node.iter if isinstance(node, cst.For) else node.test
            if self.reads_pair(head, inside):
                raise self.refuse(f"a loop over {text(head)}")
            return [changed(node, body=indented(self.rounds(suite(node.body), inside, off), node.body))]
        if isinstance(node, cst.With | cst.Try):
            parts = [i.item for i in node.items] if isinstance(node, cst.With) else []
            if any(self.reads_pair(p, inside) for p in parts):
                raise self.refuse(f"a pair in the head of {type(node).__name__.lower()}")
            return [changed(node, body=indented(self.block(suite(node.body), inside, off), node.body))]
        if any(k in reads(node) for k in self.pairs):
            raise self.refuse(f"a pair inside a {type(node).__name__}")
        return [node]

    def rounds(self, block: Block, inside: bool, off: bool) -> Block:
        """The body of a loop: where a round reads what the one before it made a pair, every round has the same text."""
        known, twins = set(self.pairs) | self.lost, set(self.pairs.values())
        body = self.block(block, inside, off)
        late = (set(self.pairs) | self.lost) - known
        if late & live_in(block) and not _equal(body, self.block(block, inside, off)):
            raise self.refuse(f"{', '.join(sorted(late))} of the round before is read")
        made = set(self.pairs.values()) - twins  # of this round, since no round reads those of the one before
        return drop_dead_stores(body, frozenset(self.taken - made - {"_"}))

    def branch(self, node: cst.If, inside: bool, off: bool) -> Block:
        test = text(node.test)
        own = self.is_guard(node.test)
        guarding = own or any(self.is_guard(p) for p in conjuncts(node.test))
        if not guarding and self.reads_pair(node.test, inside):
            raise self.refuse(f"the condition {test} reads a pair")
        before = dict(self.pairs)
        if own and node.orelse is not None and not isinstance(node.orelse, cst.If):
            node = _unified(node)
        self.tests = [*self.tests, test]
        body = self.block(suite(node.body), inside or guarding, off)
        self.tests = self.tests[:-1]
        after = self.pairs
        self.pairs = dict(before) if node.orelse is not None or not guarding else dict(after)
        orelse: cst.If | cst.Else | None = None
        if isinstance(node.orelse, cst.If):
            new = self.branch(node.orelse, inside, off or own)
            if len(new) == 1 and isinstance(new[0], cst.If):
                orelse = new[0]
            elif new:
                orelse = cst.Else(body=indented(new))
        elif node.orelse is not None:
            rest = self.block(suite(node.orelse.body), inside, off or own)
            orelse = changed(node.orelse, body=indented(rest, node.orelse.body)) if rest else None
        if clash := [k for k in after if self.pairs.get(k, after[k]) != after[k]]:
            raise self.refuse(f"{clash[0]} has another negative twin in each branch of {test}")
        if guarding:
            rest_pairs = dict(self.pairs)
            self.pairs = {**rest_pairs, **after}
            for key in before:
                if key not in after:
                    self.pairs.pop(key, None)
        else:
            self.pairs = {**self.pairs, **after}
            for key in before:
                if key not in after and (orelse is None or key not in self.pairs):
                    self.pairs.pop(key, None)
        if not body and orelse is None:
            return []
        if isinstance(orelse, cst.Else) and _equal(body, suite(orelse.body)) and pure(node.test):
            return body
        body = body or [cst.SimpleStatementLine([cst.Pass()])]
        return [changed(node, body=indented(body, node.body), orelse=orelse)]

    def line(self, node: cst.SimpleStatementLine, inside: bool, off: bool) -> Block:
        if len(node.body) != 1:
            if any(self.reads_pair(s, inside) for s in node.body):
                raise self.refuse(f"{code(node).strip()} reads a pair")
            return [node]
        small = node.body[0]
        if isinstance(small, cst.Assign) and len(small.targets) == 1:
            return self.assign(node, small.targets[0].target, small.value, inside, off)
        if isinstance(small, cst.AugAssign) and (text(small.target) in self.pairs or self.reads_pair(small, inside)):
            raise self.refuse(f"{code(small)} changes a pair in place")
        if isinstance(small, cst.Expr | cst.Return) and small.value is not None and self.reads_pair(small, inside):
            raise self.refuse(f"{code(node).strip()} reads a pair")
        return [node]

    def assign(
        self, node: cst.SimpleStatementLine, target: cst.BaseExpression, value: Expression, inside: bool, off: bool
    ) -> Block:
        if self.flags and (drawn := self.drawn(node, target, value)) is not None:
            return drawn
        value = self.flagged(self.unfactored(value))
        halves = chunked(value)
        names = bare(target)
        if (
            halves is not None
            and isinstance(names, cst.Tuple)
            and len(names.elements) == 2
            and (self.reads_pair(halves, inside) or inside)
        ):
            return self.halves(names, halves, inside)
        if isinstance(value, cst.IfExp) and self.is_guard(value.test):
            if (same := doubled(value.body, True)) is not None:
                copy = self.copied(target, same)
                if copy is not same and text(value.orelse) == text(same):
                    copy = value.with_changes(body=copy)  # without guidance the source writes to the value itself
                lines = self.assign(node, target, copy, inside, off)
                self.same.add(text(target))
                return lines
            if (both := sides(value.body)) is not None:
                twin = self.twin(target, both[0])
                self.created(both[2], text(value.test))
                lines = self.store(target, value.orelse)
                negative = self.side(both[0], True, inside)
                extra = (
                    []
                    if twin == text(negative)
                    else parse(f"{twin} = {code(negative)} if {text(value.test)} else None\n")
                )
                self.pair(target, twin)
                return [*extra, *lines]
        if (same := doubled(value, inside)) is not None and (inside or self.guard):
            lines = (
                [] if text(same) == text(target) else self.assign(node, target, self.copied(target, same), inside, off)
            )
            self.same.add(text(target))
            return lines
        element = value.elt if isinstance(value, cst.ListComp) else None
        joined = sides(element if element is not None else value) if inside else None
        if joined is not None:
            return self.create(target, value, joined, inside)
        if isinstance(value, cst.Subscript) and (half := self.half(value, inside)) is not None:
            self.halved += 1
            lines = self.store(target, half) if text(half) != text(target) else []
            self.clear(target)
            if isinstance(half, cst.Name):
                self.copies[text(target)] = half.value
            return lines
        if inside and isinstance(value, cst.Tuple) and self.reads_pair(value, inside):
            found = [
                isinstance(e.value, cst.Subscript) and self.half(e.value, inside) is not None for e in value.elements
            ]
            if all(found):
                self.halved += 1
                self.clear(target)
                return [self.with_value(node, self.side(value, False, inside))]
        if perturbed(value):
            self.clear(target)
            return [self.with_value(node, self.side(value, False, inside))]
        if self.reads_pair(value, inside) and not off:
            if any((dotted(c.func) or "").startswith("self.scheduler.") for c in _calls(value)):
                return self.stepped(node, target, value, inside)
            return self.twice_written(node, target, value, inside)
        if self.returned(target, value):
            self.clear(target)
            return []
        self.clear(target)
        if isinstance(value, cst.Name) and isinstance(target, cst.Name):
            self.copies[target.value] = value.value
        if inside:
            return [self.with_value(node, self.side(value, False, inside))]
        return [self.with_value(node, value)]

    # -------------------------------------------------------------------------------------------------- the rules
    def create(
        self, target: cst.BaseExpression, value: Expression, joined: tuple[Expression, Expression, str], inside: bool
    ) -> Block:
        negative, positive, order = joined
        if isinstance(value, cst.ListComp):
            negative, positive = value.with_changes(elt=negative), value.with_changes(elt=positive)
        twin = self.twin(target, negative)
        self.created(order, self.tests[-1])
        negative, positive = self.side(negative, True, inside), self.side(positive, False, inside)
        lines: Block = []
        if twin != text(negative):
            lines += parse(f"{twin} = {code(negative)}\n")
        if text(positive) != text(target):
            lines += self.store(target, positive)
        self.pair(target, twin)
        return lines

    def twice_written(
        self, node: cst.SimpleStatementLine, target: cst.BaseExpression, value: Expression, inside: bool
    ) -> Block:
        if isinstance(bare(target), cst.Subscript):
            return self.entry(node, target, value, inside)
        negative = self.side(value, True, inside)
        positive = self.side(value, False, inside)
        self.twice.append(code(node))
        twin = self.twin(target, None)
        first = self.with_value(node, positive)
        second = _assigned(twin, negative)
        self.pair(target, twin)
        if not inside:
            if self.guard is None:
                raise self.refuse(f"{code(node).strip()} comes before any guard")
            second = [cst.If(test=cst.parse_expression(self.guard), body=indented(second))]
        rebound = target_names(bare(target)) & set(reads(negative))  # the other side reads what the first one binds
        return [*second, first] if rebound else [first, *second]

    def stepped(
        self, node: cst.SimpleStatementLine, target: cst.BaseExpression, value: Expression, inside: bool
    ) -> Block:
        """R7: the scheduler steps once, with the positive side; what it would give for the other one is lost."""
        first = self.with_value(node, self.side(value, False, inside))
        self.clear(target)
        self.lost |= target_names(bare(target))
        return [first]

    def returned(self, target: cst.BaseExpression, value: Expression) -> bool:
        """``x = y`` where ``y`` is a copy of ``x``."""
        return isinstance(value, cst.Name) and self.copies.get(value.value) == text(target)

    def entry(
        self, node: cst.SimpleStatementLine, target: cst.BaseExpression, value: Expression, inside: bool
    ) -> Block:
        """``d["key"] = pair``: the dictionary becomes a pair, too."""
        target = bare(target)  # type: ignore[assignment]
        assert isinstance(target, cst.Subscript)
        key = text(target.slice[0]) if len(target.slice) == 1 else ""
        base = text(target.value)
        if not re.fullmatch(r"([\"\'])\w+\1", key) or not dotted(target.value) or self.guard is None:
            raise self.refuse(f"{code(node).strip()} stores a pair in an element")
        negative = code(self.side(value, True, inside))
        if base in self.pairs:
            second = parse(f"{self.pairs[base]}[{key}] = {negative}\n")
        else:
            twin = self.twin(target.value, None)
            second = parse(f"{twin} = {{**{base}, {key}: {negative}}}\n")
            self.pair(target.value, twin)
        first = self.with_value(node, self.side(value, False, inside))
        return (
            [first, *second]
            if inside
            else [first, cst.If(test=cst.parse_expression(self.guard), body=indented(second))]
        )

    def halves(self, names: cst.Tuple, base: Expression, inside: bool) -> Block:
        both = self.reads_pair(base, inside)
        order = self.order or "np"
        targets = [text(e.value) for e in names.elements]
        values = [
            code(self.side(base, both and order[i] == "n", inside)).strip() if targets[i] != "_" else "_"
            for i in range(2)
        ]
        for element in names.elements:
            self.clear(element.value)
        self.halved += both
        live = [(t, v) for t, v in zip(targets, values, strict=True) if t != "_" and t != v]
        if not live:
            return []
        return parse(f"{', '.join(t for t, _ in live)} = {', '.join(v for _, v in live)}\n")

    # --------------------------------------------------------------------------------------------------- small parts
    def store(self, target: cst.BaseExpression, value: Expression) -> Block:
        return parse(f"{code(target)} = {code(value)}\n")

    def with_value(self, node: cst.SimpleStatementLine, value: Expression) -> Statement:
        small = node.body[0]
        assert isinstance(small, cst.Assign)
        return changed(node, body=[changed(small, value=value)])


def _unified(node: cst.If) -> cst.If:
    """``if g: x = f(2 * n) else: x = f(n)``: both branches without the factor."""
    other: dict[str, Expression] = {}
    assert node.orelse is not None
    for statement in suite(node.orelse.body):
        small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if isinstance(small, cst.Assign) and len(small.targets) == 1:
            other[text(small.targets[0].target)] = small.value
    body: Block = []
    for statement in suite(node.body):
        small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if isinstance(small, cst.Assign) and len(small.targets) == 1:
            plain = other.get(text(small.targets[0].target))
            if plain is not None and text(factor_removed(small.value)) == text(plain):
                statement = statement.with_changes(body=[small.with_changes(value=plain)])
        body.append(statement)
    return node.with_changes(body=indented(body, node.body))


def _assigned(names: str, value: Expression) -> Block:
    """``a, b = x, y`` as two statements where neither reads the other's name, ``a = x`` as one."""
    both = names.split(", ")
    if isinstance(value, cst.Tuple) and len(value.elements) == len(both) and not set(both) & set(reads(value)):
        return [s for n, e in zip(both, value.elements, strict=True) for s in parse(f"{n} = {code(e.value)}\n")]
    return parse(f"{names} = {code(value)}\n")


def _equal(first: Block, second: Block) -> bool:
    """Whether two blocks have the same text, comments aside."""

    def plain(block: Block) -> str:
        return "".join(code(s.with_changes(leading_lines=[])) for s in block)

    return plain(first) == plain(second)


def _calls(node: Expression) -> list[cst.Call]:
    return [n for n in walk(node) if isinstance(n, cst.Call)]


def _merges(first: Statement, second: Statement) -> bool:
    """Whether two statements are branches under one condition that can be one."""
    return (
        isinstance(first, cst.If)
        and isinstance(second, cst.If)
        and first.orelse is None
        and text(first.test) == text(second.test)
        and not bound(suite(first.body)) & set(reads(first.test))
    )


def _merged(first: cst.If, second: cst.If) -> cst.If:
    rest = suite(second.body)
    comments = [line for line in second.leading_lines if line.comment]
    if comments:
        rest[0] = rest[0].with_changes(leading_lines=[*comments, *rest[0].leading_lines])
    body = [*suite(first.body), *rest]
    return first.with_changes(body=indented(body, first.body), orelse=second.orelse)
