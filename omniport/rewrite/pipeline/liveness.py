"""Which names are live where, which are surely bound, and the removal of stores that nothing reads."""

from __future__ import annotations

import functools

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    changed,
    head_bound,
    indented,
    pure,
    reads,
    small_bound,
    suite,
)
from omniport.rewrite.pipeline.walk import target_names

Names = frozenset[str]


def _names_only(node: cst.Tuple) -> bool:
    return all(isinstance(e.value, cst.Name) for e in node.elements)


class _Flow:
    """Backward walk over structured statements; optionally drops dead stores on the way."""

    def __init__(self, drop: bool) -> None:
        self.drop = drop

    def block(self, block: Block, out: Names, jump: Names) -> tuple[Block, Names]:
        """``out``: live after the block; ``jump``: live where ``break`` and ``continue`` lead to."""
        kept: Block = []
        for node in reversed(block):
            new, out = self.statement(node, out, jump)
            if new is not None:
                kept.append(new)
            elif kept:
                kept[-1] = _heading(node, kept[-1])
        return kept[::-1], out

    def statement(self, node: Statement, out: Names, jump: Names) -> tuple[Statement | None, Names]:
        if type(node) is cst.SimpleStatementLine:
            return self.line(node, out, jump)
        if type(node) is cst.If:
            return self.branch(node, out, jump)
        if isinstance(node, cst.For | cst.While):
            return self.loop(node, out)
        if isinstance(node, cst.With):
            body, live = self.block(suite(node.body), out, jump)
            head = frozenset(reads(*node.items))
            return self.keep(node, body), head | (live - head_bound(node))
        if isinstance(node, cst.Try):
            parts = [h.body for h in node.handlers] + [p.body for p in (node.orelse, node.finalbody) if p]
            after = out | frozenset(reads(*parts))
            body, live = self.block(suite(node.body), after, jump | after)
            return self.keep(node, body), live | after
        return node, (out - head_bound(node)) | frozenset(reads(node))

    def keep(self, node: Statement, body: Block) -> Statement | None:
        if not body:
            return None if self.drop else node
        return changed(node, body=indented(body, node.body))  # type: ignore[arg-type]

    def line(self, node: cst.SimpleStatementLine, out: Names, jump: Names) -> tuple[Statement | None, Names]:
        if self.drop and len(node.body) == 1 and isinstance(node.body[0], cst.Assign | cst.AnnAssign):
            assign = node.body[0]
            targets = [t.target for t in assign.targets] if isinstance(assign, cst.Assign) else [assign.target]
            names = {n for t in targets for n in target_names(t)}
            own = all(isinstance(t, cst.Name) or (isinstance(t, cst.Tuple) and _names_only(t)) for t in targets)
            if own and not out.intersection(names) and (assign.value is None or pure(assign.value)):
                return None, out
            if (
                isinstance(assign, cst.Assign)
                and len(targets) == 1
                and isinstance(targets[0], cst.Name)
                and isinstance(assign.value, cst.Call)
                and not out.intersection(names)
            ):
                node = node.with_changes(body=[cst.Expr(assign.value)])  # the call may have an effect
        for small in reversed(node.body):
            kind = type(small)
            if kind is cst.Return or kind is cst.Raise:
                out = frozenset()
            elif kind is cst.Break or kind is cst.Continue:
                out = jump
            binds = small_bound(small)
            out = (out - binds) | reads(small).keys()
            if isinstance(small, cst.AugAssign):
                out |= frozenset(reads(small.target))
        return node, out

    def branch(self, node: cst.If, out: Names, jump: Names) -> tuple[Statement | None, Names]:
        body, live = self.block(suite(node.body), out, jump)
        other: cst.If | cst.Else | None = None
        rest = out
        if isinstance(node.orelse, cst.If):
            branch, rest = self.branch(node.orelse, out, jump)
            other = branch  # type: ignore[assignment]
        elif node.orelse is not None:
            inner, rest = self.block(suite(node.orelse.body), out, jump)
            other = changed(node.orelse, body=indented(inner, node.orelse.body)) if inner else None
        live = live | rest | frozenset(reads(node.test))
        if not body and other is None and self.drop and pure(node.test):
            return None, out
        body = body or [cst.SimpleStatementLine(body=[cst.Pass()])]
        return changed(node, body=indented(body, node.body), orelse=other), live

    def loop(self, node: cst.For | cst.While, out: Names) -> tuple[Statement | None, Names]:
        head = frozenset(reads(node.iter if isinstance(node, cst.For) else node.test))
        again = out | head
        while True:  # to the fixed point: what the next round reads is live at the end of this one
            body, live = self.block(suite(node.body), again, again)
            grown = again | (live - head_bound(node))
            if grown == again:
                break
            again = grown
        return changed(node, body=indented(body or [cst.SimpleStatementLine([cst.Pass()])], node.body)), again


def _heading(gone: Statement, following: Statement) -> Statement:
    """``following`` under the comment of the statement that stood before it, if it has none of its own."""
    lines = gone.leading_lines
    if any(line.comment for line in lines) and not following.leading_lines:
        return following.with_changes(leading_lines=lines)
    return following


def live_in(block: Block, out: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names whose value on entry to ``block`` may be read, with ``out`` live at its end."""
    return _Flow(drop=False).block(block, out, out)[1]


@functools.lru_cache(maxsize=256)
def read_first(function: cst.FunctionDef) -> frozenset[str]:
    """Names whose value on entry to the body of ``function`` may be read."""
    return live_in(suite(function.body))


def drop_dead_stores(block: Block, out: frozenset[str] = frozenset()) -> Block:
    """The block without assignments of effect-free values to names that nothing reads afterwards; ``out`` are read."""
    return _Flow(drop=True).block(block, out, out)[0]


def surely_bound(block: Block) -> frozenset[str]:
    """Names bound on every path through ``block``."""
    names: frozenset[str] = frozenset()
    for node in block:
        if isinstance(node, cst.If):
            arms, last = [], node
            while True:
                arms.append(_leaves(suite(last.body)))
                if not isinstance(last.orelse, cst.If):
                    break
                last = last.orelse
            if last.orelse is not None:
                arms.append(_leaves(suite(last.orelse.body)))
                open_arms = [a for a in arms if a is not None]
                names |= frozenset.intersection(*open_arms) if open_arms else frozenset()
        elif isinstance(node, cst.With):
            names |= head_bound(node) | surely_bound(suite(node.body))
        elif isinstance(node, cst.SimpleStatementLine | cst.FunctionDef):
            names |= head_bound(node)
    return names


def _leaves(block: Block) -> frozenset[str] | None:
    """Names bound at the end of an arm; None if the arm never reaches its end."""
    last = block[-1]
    if isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Return | cst.Raise):
        return None
    return surely_bound(block)
