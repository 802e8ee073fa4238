"""What a prompt is, followed from the request through the methods: questions about it that have one answer are decided.

The reference takes a prompt as a string or as a list of them and asks in every method; a request of vLLM-Omni brings
one string, and a batch a list.  Names are followed forward through the statements, and arguments into the methods that
only ``self.method(...)`` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, bound, changed, indented, reads, rewrite_lines, suite
from omniport.rewrite.pipeline.kinds_known import Kinds, Known, joined, kinds_of, narrowed, times, truth, without
from omniport.rewrite.pipeline.walk import all_parameters, method_calls, target_names
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def with_known_kinds(
    methods: Mapping[str, cst.FunctionDef],
    entry: str,
    given: Mapping[str, Kinds],
    owners: frozenset[str],
    followed: Callable[[str], bool],
) -> dict[str, cst.FunctionDef]:
    """The methods that change by what is ``given`` of the parameters of ``entry``: each such question is True or False.

    ``owners`` are the names by which methods are called; ``followed`` says of a method that nothing but calls of it
    with plain arguments uses it.
    """
    apart = [name for name in methods if name == entry or not followed(name)]
    parameters: dict[str, Known] = {name: dict(given) if name == entry else {} for name in apart}
    new: dict[str, cst.FunctionDef] = {}
    todo = list(apart)
    while todo:
        name = todo.pop()
        method = _Method(methods[name], owners)
        new[name] = method.run(parameters[name])
        for called, call, known in method.calls:
            if called not in methods or called in apart:
                continue
            found = _arguments(methods[called], call, known)
            old = parameters.get(called)
            both = found if old is None else joined(old, found)
            if both != old:
                parameters[called] = both
                if called not in todo:
                    todo.append(called)
    return {name: node for name, node in new.items() if node is not methods[name]}


def _arguments(node: cst.FunctionDef, call: cst.Call, known: Known) -> Known:
    """What the parameters of a method may hold by one call of it."""
    own = [p for p in all_parameters(node.params) if p.name.value != "self"]
    values = {p.name.value: (p.default, Known()) for p in own}
    for position, argument in enumerate(call.args):
        key = argument.keyword.value if argument.keyword else own[position].name.value
        values[key] = (argument.value, known)
    kinds = {n: kinds_of(v, k) for n, (v, k) in values.items() if v is not None}
    return {name: found for name, found in kinds.items() if found}


class _Method:
    """Goes through a method: ``calls`` are those of other methods, each with what is known where it stands."""

    def __init__(self, node: cst.FunctionDef, owners: frozenset[str]) -> None:
        self.node, self.owners = node, owners
        self.calls: list[tuple[str, cst.Call, Known]] = []
        #: Names that are bound inside expressions, or in scopes of their own.
        self.never = {n for inner in of_kind(node, cst.NamedExpr) for n in target_names(inner.target)}
        self.never |= {item.name.value for scope in of_kind(node, cst.Nonlocal) for item in scope.names}

    def run(self, known: Known) -> cst.FunctionDef:
        block, _ = self.block(suite(self.node.body), without(known, self.never))
        new = changed(self.node, body=indented(block, self.node.body))
        if any(map(_to_itself, of_kind(new, cst.Assign))):
            block = rewrite_lines(suite(new.body), lambda line: [] if _to_itself(line.body[-1]) else [line])
            new = changed(new, body=indented(block, new.body))
        return new

    def block(self, block: Block, known: Known | None) -> tuple[Block, Known | None]:
        """The statements under what is known, and what is known behind them; None where nothing runs."""
        out: Block = []
        for node in block:
            if known is not None:
                node, known = self.statement(node, known)
            out.append(node)
        return out, known

    def statement(self, node: Statement, known: Known) -> tuple[Statement, Known | None]:
        if isinstance(node, cst.SimpleStatementLine):
            return self.line(node, known)
        if isinstance(node, cst.If):
            return self.branch(node, known)
        rest = without(known, bound([node]))
        if isinstance(node, cst.With):
            items = [changed(i, item=self.expression(i.item, rest)) for i in node.items]
            kept = without(known, {n for i in node.items if i.asname for n in target_names(i.asname.name)})
            body, after = self.block(suite(node.body), kept)
            return changed(node, items=items, body=indented(body, node.body)), after
        if isinstance(node, cst.For) and node.orelse is None:
            head = self.expression(node.iter, known)
            body, _ = self.block(suite(node.body), rest)
            return changed(node, iter=head, body=indented(body, node.body)), rest
        self.note(node, {})
        return node, rest

    def branch(self, node: cst.If, known: Known) -> tuple[cst.If, Known | None]:
        test = self.expression(node.test, known)
        body, after = self.block(suite(node.body), narrowed(node.test, known, True))
        rest, other = narrowed(node.test, known, False), node.orelse
        if isinstance(other, cst.If) and rest is not None:
            other, rest = self.branch(other, rest)
        elif isinstance(other, cst.Else):
            inner, rest = self.block(suite(other.body), rest)
            other = changed(other, body=indented(inner, other.body))
        new = changed(node, test=test, body=indented(body, node.body), orelse=other)
        if after is None or rest is None:
            return new, rest if after is None else after
        return new, joined(after, rest)

    def line(self, node: cst.SimpleStatementLine, known: Known) -> tuple[Statement, Known | None]:
        last = node.body[-1]
        self.note(node, known if len(node.body) == 1 else {})
        if isinstance(last, cst.Raise | cst.Break | cst.Continue):
            return node, None
        names = bound([node])
        read = known.keys() & reads(node)
        after = without(known, names | {f"len({n})" for n in read})  # whoever is given a list may change it
        if isinstance(last, cst.Return) and (len(node.body) > 1 or last.value is None):
            return node, None
        if not isinstance(last, cst.Return | cst.Expr | cst.Assign) or len(node.body) > 1:
            return node, after
        assert last.value is not None
        value = self.decided(last.value, known) if read else last.value
        target = last.targets[0].target if isinstance(last, cst.Assign) and len(last.targets) == 1 else None
        if isinstance(target, cst.Name) and target.value not in self.never:
            if kinds := kinds_of(last.value, known):
                after[target.value] = kinds
            if (count := times(last.value, known)) is not None and count not in (target.value, *self.never):
                after[f"len({target.value})"] = frozenset({count})
        new = node if value is last.value else changed(node, body=[last.with_changes(value=value)])
        return new, None if isinstance(last, cst.Return) else after

    def note(self, node: cst.CSTNode, known: Known) -> None:
        found = method_calls(node, self.owners)
        if found and known and (inner := _inner(node)):
            known = without(known, inner)
        self.calls += [(name, call, known) for name, call in found]

    def expression(self, node: cst.BaseExpression, known: Known) -> cst.BaseExpression:
        self.note(node, known)
        return self.decided(node, known) if known.keys() & reads(node) else node

    def decided(self, node: cst.BaseExpression, known: Known) -> cst.BaseExpression:
        """``node`` with the answers that are known in the place of its questions."""
        return transform(node, _Decide(known))  # type: ignore[no-any-return]


def _to_itself(node: cst.CSTNode) -> bool:
    """``x = x``."""
    if not isinstance(node, cst.Assign) or len(node.targets) > 1:
        return False
    target, value = node.targets[0].target, node.value
    return isinstance(target, cst.Name) and isinstance(value, cst.Name) and target.value == value.value


def _inner(node: cst.CSTNode) -> Collection[str]:
    """Names that comprehensions and functions inside ``node`` bind for themselves."""
    names = {n for inner in of_kind(node, cst.CompFor) for n in target_names(inner.target)}
    return names | {p.name.value for inner in of_kind(node, cst.Lambda) for p in all_parameters(inner.params)}


class _Decide(cst.CSTTransformer):
    def __init__(self, known: Known) -> None:
        self.known = known

    def within(self, node: cst.BaseExpression, known: Known | None) -> cst.BaseExpression:
        return node if known is None else transform(node, _Decide(known))

    def visit_IfExp(self, node: cst.IfExp) -> bool:
        return False

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        node = original_node
        yes, no = narrowed(node.test, self.known, True), narrowed(node.test, self.known, False)
        return changed(
            node,
            test=self.within(node.test, self.known),
            body=self.within(node.body, yes),
            orelse=self.within(node.orelse, no),
        )

    def visit_BooleanOperation(self, node: cst.BooleanOperation) -> bool:
        return False

    def leave_BooleanOperation(
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        node = original_node
        behind = narrowed(node.left, self.known, isinstance(node.operator, cst.And))
        return changed(node, left=self.within(node.left, self.known), right=self.within(node.right, behind))

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return self._answer(original_node, updated_node)

    def leave_Comparison(self, original_node: cst.Comparison, updated_node: cst.Comparison) -> cst.BaseExpression:
        return self._answer(original_node, updated_node)

    def _answer(self, node: cst.BaseExpression, new: cst.BaseExpression) -> cst.BaseExpression:
        answer = truth(node, self.known)
        return new if answer is None else cst.Name(str(answer))

    def visit_Lambda(self, node: cst.Lambda) -> bool:
        return False

    def visit_ListComp(self, node: cst.ListComp) -> bool:
        return False

    def visit_SetComp(self, node: cst.SetComp) -> bool:
        return False

    def visit_DictComp(self, node: cst.DictComp) -> bool:
        return False

    def visit_GeneratorExp(self, node: cst.GeneratorExp) -> bool:
        return False
