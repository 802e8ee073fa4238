"""Facts in, decided code out: conditions, conditional expressions and branches that the facts decide are folded."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    bound,
    changed,
    head_bound,
    indented,
    pure,
    small_bound,
    statements,
    suite,
    without_lines,
)
from omniport.rewrite.pipeline.evaluate import EMPTY, PRESENT, UNKNOWN, Facts, evaluate, is_literal, literal, takes
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import kinds, of_kind


class _Fold(cst.CSTTransformer):
    """Folds inside expressions; keyword names, attribute names and assignment targets stay."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def _visit(self, node: cst.BaseExpression) -> cst.BaseExpression:
        return transform(node, self)  # type: ignore[no-any-return]

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        return False

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        name = dotted(original_node)
        value = self.facts.values.get(name, UNKNOWN) if name else UNKNOWN
        if is_literal(value):
            return literal(value)
        return changed(updated_node, value=self._visit(original_node.value))

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        name = original_node.value
        value = self.facts.values.get(name, UNKNOWN) if name not in self.facts.unwritten else UNKNOWN
        return literal(value) if is_literal(value) and name != "None" else updated_node

    def visit_Arg(self, node: cst.Arg) -> bool:
        return False

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return changed(updated_node, value=self._visit(original_node.value))

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        arguments = [a.value for a in original_node.args]
        if dotted(original_node.func) == "getattr" and len(arguments) == 3:
            owner = dotted(arguments[0])
            if owner is not None and owner in self.facts.configs and isinstance(arguments[1], cst.SimpleString):
                key = str(arguments[1].evaluated_value)
                return cst.parse_expression(f"{owner}.{key}") if key in self.facts.configs[owner] else arguments[2]
        name = original_node.func.attr.value if isinstance(original_node.func, cst.Attribute) else ""
        if (
            name in ("get", "pop")
            and len(arguments) == 2
            and isinstance(original_node.func, cst.Attribute)
            and evaluate(original_node.func.value, self.facts) is EMPTY
        ):
            return arguments[1]
        return updated_node

    def leave_Comparison(self, original_node: cst.Comparison, updated_node: cst.Comparison) -> cst.BaseExpression:
        """Types are compared by identity, as linters of the target want it."""
        if (taken := takes(updated_node, self.facts)) is not None:
            return literal(taken)
        first = updated_node.comparisons[0]
        sides = (updated_node.left, first.comparator)
        if len(updated_node.comparisons) > 1 or not any(
            isinstance(s, cst.Call) and dotted(s.func) == "type" for s in sides
        ):
            return updated_node
        if isinstance(first.operator, cst.Equal | cst.NotEqual):
            same: cst.BaseCompOp = cst.Is() if isinstance(first.operator, cst.Equal) else cst.IsNot()
            return updated_node.with_changes(comparisons=[first.with_changes(operator=same)])
        return updated_node

    def visit_AssignTarget(self, node: cst.AssignTarget) -> bool:
        return False

    def visit_Param(self, node: cst.Param) -> bool:
        return False

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        value = evaluate(updated_node.test, self.facts)
        if value is UNKNOWN:
            return updated_node
        return _parenthesised(updated_node.body if value else updated_node.orelse, updated_node)

    def leave_BooleanOperation(
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        left = evaluate(updated_node.left, self.facts)
        if left is UNKNOWN:
            return _true_or_false(updated_node, self.facts)
        stops = bool(left) is isinstance(updated_node.operator, cst.Or)
        return _parenthesised(updated_node.left if stops else updated_node.right, updated_node)


def _true_or_false(node: cst.BooleanOperation, facts: Facts) -> cst.BaseExpression:
    """``x is None and False`` is False: what its right side decides where the left one can only be True or False."""
    right = evaluate(node.right, facts)
    boolean = isinstance(node.left, cst.Comparison) or (
        isinstance(node.left, cst.UnaryOperation) and isinstance(node.left.operator, cst.Not)
    )
    if not boolean or not isinstance(right, bool):
        return node
    if right is isinstance(node.operator, cst.Or):
        return literal(right) if pure(node.left) else node
    return _parenthesised(node.left, node)


def _parenthesised(node: cst.BaseExpression, outer: cst.BaseExpression) -> cst.BaseExpression:
    """``node`` in the place of ``outer``, in its parentheses where they may matter."""
    if outer.lpar and not node.lpar and not isinstance(node, cst.Name | cst.Attribute | cst.Call):
        return node.with_changes(lpar=outer.lpar, rpar=outer.rpar)
    return node


def fold_test(node: cst.BaseExpression, facts: Facts) -> cst.BaseExpression | bool:
    """A condition with its decided parts gone, or its truth."""
    node = transform(node, _Fold(facts))
    return _test(node, facts)


def _test(node: cst.BaseExpression, facts: Facts) -> cst.BaseExpression | bool:
    value = evaluate(node, facts)
    if value is not UNKNOWN:
        return bool(value)
    if isinstance(node, cst.BooleanOperation):
        left, right = _test(node.left, facts), _test(node.right, facts)
        stops = isinstance(node.operator, cst.Or)
        for one, other in ((left, right), (right, left)):
            if isinstance(one, bool):
                if one is not stops:
                    return other if isinstance(other, bool) else _parenthesised(other, node)
                if isinstance(other, bool) or pure(other):
                    return stops
        if not isinstance(left, bool) and not isinstance(right, bool):
            return changed(node, left=left, right=right)
    return node


def fold_block(block: Sequence[Statement], facts: Facts) -> Block:
    """The statements that remain of ``block`` under ``facts``."""
    folded: Block = []
    gap = False  # whether a statement that went had a blank line above it
    for node in block:
        new = _statement(node, facts)
        if new and gap and folded and not new[0].leading_lines:
            new[0] = new[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        gap = not new and (gap or bool(node.leading_lines))
        folded.extend(new)
        if new and _leaves(new[-1]):
            break
    return folded


def _leaves(node: Statement) -> bool:
    """Whether nothing runs after a statement."""
    return type(node) is cst.SimpleStatementLine and type(node.body[-1]) in _LEAVING


_LEAVING = frozenset({cst.Raise, cst.Return, cst.Break, cst.Continue})


@functools.lru_cache(maxsize=16384)
def _words(line: cst.SimpleStatementLine) -> frozenset[str]:
    return frozenset(name.value for name in of_kind(line, cst.Name))


def _undecided(line: cst.SimpleStatementLine, facts: Facts) -> bool:
    """Whether nothing in a line can be folded; without it, most lines would be transformed into themselves."""
    within = kinds(line)
    choices = within is None or cst.IfExp in within or cst.BooleanOperation in within
    return not choices and _words(line).isdisjoint(facts.words)


def _statement(node: Statement, facts: Facts) -> Block:
    if type(node) is cst.SimpleStatementLine:
        if _undecided(node, facts):
            return [node]
        kept = [transform(s, _Fold(facts)) for s in node.body if not _removed(s, facts)]
        return [changed(node, body=kept)] if kept else []
    if isinstance(node, cst.If):
        return _if(node, facts)
    if isinstance(node, cst.With):
        items = [i for i in node.items if not _unwrapped(i, facts)]
        body = fold_block(suite(node.body), facts)
        if not items:
            return _with_leading(node, body)
        items = [changed(i, item=transform(i.item, _Fold(facts))) for i in items]
        return [changed(node, items=items, body=indented(body, node.body))] if body else []
    if isinstance(node, cst.For | cst.While):
        head = "iter" if isinstance(node, cst.For) else "test"
        body = fold_block(suite(node.body), facts) or [cst.SimpleStatementLine([cst.Pass()])]
        change = {head: transform(getattr(node, head), _Fold(facts)), "body": indented(body, node.body)}
        return [changed(node, **change)]
    if isinstance(node, cst.Try):
        body = fold_block(suite(node.body), facts)
        handlers = [changed(h, body=indented(fold_block(suite(h.body), facts), h.body)) for h in node.handlers]
        return [changed(node, body=indented(body, node.body), handlers=handlers)] if body else []
    return [transform(node, _Fold(facts))]


def _if(node: cst.If, facts: Facts) -> Block:
    test = fold_test(node.test, facts)
    if test is True:
        return _with_leading(node, fold_block(suite(node.body), facts))
    orelse = _orelse(node.orelse, facts)
    if test is False:
        if isinstance(orelse, cst.If):
            return [orelse.with_changes(leading_lines=node.leading_lines)]
        return _with_leading(node, suite(orelse.body)) if orelse is not None else []
    assert not isinstance(test, bool)
    body = fold_block(suite(node.body), facts)
    if orelse is None and _passes(body) and pure(test):
        return []
    if body:
        return [changed(node, test=test, body=indented(body, node.body), orelse=orelse)]
    return [node.with_changes(test=test, body=indented([cst.SimpleStatementLine([cst.Pass()])]), orelse=orelse)]


def _passes(block: Block) -> bool:
    """Whether a block does nothing."""
    return all(isinstance(s, cst.SimpleStatementLine) and all(isinstance(b, cst.Pass) for b in s.body) for s in block)


def _orelse(node: cst.If | cst.Else | None, facts: Facts) -> cst.If | cst.Else | None:
    if isinstance(node, cst.If):
        folded = _if(node, facts)
        if len(folded) == 1 and isinstance(folded[0], cst.If):
            return changed(folded[0], leading_lines=node.leading_lines)
        return cst.Else(body=indented(folded), leading_lines=node.leading_lines) if folded else None
    if node is not None:
        body = fold_block(suite(node.body), facts)
        return changed(node, body=indented(body, node.body)) if body else None
    return None


def _with_leading(node: Statement, body: Block) -> Block:
    """``body`` in the place of ``node``, which leaves its comments to the first statement."""
    if body and node.leading_lines:
        first = body[0]
        lines = [*node.leading_lines, *first.leading_lines]
        body = [first.with_changes(leading_lines=lines), *body[1:]]
    return body


def _removed(node: cst.BaseSmallStatement, facts: Facts) -> bool:
    if type(node) is cst.Expr and type(node.value) is cst.Call:
        return dotted(node.value.func) in facts.removed_calls
    if type(node) is cst.Assign and len(node.targets) == 1:
        target: cst.CSTNode = node.targets[0].target
        if isinstance(target, cst.Subscript):
            target = target.value
        name = dotted(target) if isinstance(target, cst.Attribute) else None
        return name is not None and name in facts.values and facts.values[name] is not PRESENT
    return False


def _unwrapped(item: cst.WithItem, facts: Facts) -> bool:
    name = dotted(item.item.func) if isinstance(item.item, cst.Call) else None
    return name is not None and name.split(".")[-1] in facts.unwrapped


def constant_locals(block: Block) -> dict[str, bool | None]:
    """Names whose every binding in ``block`` is ``name = None``, or each ``name = False``, or each ``name = True``."""
    found: dict[str, set[str]] = {}
    for node in statements(block):
        if type(node) is cst.SimpleStatementLine:
            for small in node.body:
                value = dotted(small.value) if isinstance(small, cst.Assign | cst.AnnAssign) and small.value else ""
                for name in small_bound(small):
                    found.setdefault(name, set()).add(value if value and value in _CONSTANTS else "")
        else:
            for name in head_bound(node):
                found.setdefault(name, set()).add("")
    one = {name: next(iter(values)) for name, values in found.items() if len(values) == 1}
    return {name: _CONSTANTS[value] for name, value in one.items() if value}


_CONSTANTS: dict[str, bool | None] = {"None": None, "False": False, "True": True}


def fold_function(node: cst.FunctionDef, facts: Facts, arguments: Mapping[str, Any] | None = None) -> cst.FunctionDef:
    """A function under ``facts``, locals of one constant included.

    ``arguments`` are values of its own parameters.  They are believed even where the body rebinds one, as long as
    folding removes every such binding; a parameter that is still bound afterwards keeps its unknown value.
    """
    arguments = dict(arguments or {})
    own = {p.name.value for p in all_parameters(node.params)} | bound(suite(node.body))
    outer = replace(
        facts,
        values={n: v for n, v in facts.values.items() if n not in own},
        lists=_always_lists(suite(node.body), facts.lists),
    )
    while True:
        block = fold_block(suite(node.body), outer.having(arguments))
        if not (wrong := bound(block) & set(arguments)):
            break
        for name in wrong:
            del arguments[name]
    parameters = {p.name.value for p in all_parameters(node.params)}
    while values := {n: v for n, v in constant_locals(block).items() if n not in parameters}:
        block = fold_block(_without_bindings(block, frozenset(values)), outer.having(values))
    return changed(node, body=indented(block or [cst.SimpleStatementLine([cst.Pass()])], node.body))


def _always_lists(block: Block, names: frozenset[str]) -> frozenset[str]:
    """Those of ``names`` that every assignment in ``block`` leaves a list or None."""
    if not names:
        return names
    wrong: set[str] = set()
    for node in statements(block):
        for small in node.body if isinstance(node, cst.SimpleStatementLine) else ():
            bound_names = small_bound(small) & names
            whole = isinstance(small, cst.Assign) and all(isinstance(t.target, cst.Name) for t in small.targets)
            if bound_names and not (whole and _is_list(small.value, names)):  # type: ignore[attr-defined]
                wrong |= bound_names
    return names - wrong


def _is_list(node: cst.BaseExpression, names: frozenset[str]) -> bool:
    """Whether an expression is a list or None if each of ``names`` is."""
    if isinstance(node, cst.IfExp):
        return _is_list(node.body, names) and _is_list(node.orelse, names)
    if isinstance(node, cst.BooleanOperation):
        return _is_list(node.left, names) and _is_list(node.right, names)
    if isinstance(node, cst.BinaryOperation):
        return _is_list(node.left, names) and isinstance(node.operator, cst.Multiply | cst.Add)
    return isinstance(node, cst.List | cst.ListComp) or dotted(node) == "None" or dotted(node) in names


def _without_bindings(block: Block, names: frozenset[str]) -> Block:
    def binds(line: cst.SimpleStatementLine) -> bool:
        return bool(head_bound(line)) and head_bound(line) <= names

    return without_lines(block, binds)
