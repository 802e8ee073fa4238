"""Parameters of ``diffuse`` that the reference's loop took from the code ahead of it get the type of what is passed.

The statements of ``forward`` are followed up to the call, on every way; a parameter of which reading does not tell the
type stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, suite
from omniport.rewrite.pipeline.value_types import NONE, Type, elements_of, joined, parts_of, type_of, written
from omniport.rewrite.pipeline.walk import all_parameters, target_names
from omniport.source.syntax import code, dotted
from omniport.source.walk import of_kind

_CALL = "self.diffuse"
_DEEP = 3  # methods that call each other
_MOST = 2  # parts of a type that is told, besides None


def with_parameter_types(methods: Sequence[cst.FunctionDef]) -> list[cst.FunctionDef]:
    """The methods of a pipeline, the parameters of its ``diffuse`` with types."""
    named = {m.name.value: m for m in methods}
    diffuse, entry = named.get("diffuse"), named.get("forward")
    if diffuse is None or entry is None:
        return list(methods)
    untyped = [p.name.value for p in all_parameters(diffuse.params) if p.annotation is None and p.name.value != "self"]
    if not untyped:
        return list(methods)
    flow = _Flow(named, entry, {}, 0)
    flow.run()
    found = {}
    for name in untyped:
        given = [
            flow.type_of(argument.value, where)
            for call, where in flow.sites
            for argument in call.args
            if argument.keyword is not None and argument.keyword.value == name
        ]
        kind = joined(*given) if len(given) == len(flow.sites) else None
        if kind and 0 < len(kind - NONE) <= _MOST:
            found[name] = written(kind)
    new = diffuse.with_changes(params=_with_types(diffuse.params, found)) if found else diffuse
    return [new if m is diffuse else m for m in methods]


def _with_types(params: cst.Parameters, types: Mapping[str, str]) -> cst.Parameters:
    def typed(param: cst.Param) -> cst.Param:
        text = types.get(param.name.value)
        kind = cst.Annotation(cst.parse_expression(text)) if text is not None else None
        return param if kind is None else param.with_changes(annotation=kind)

    return params.with_changes(params=[typed(p) for p in params.params])


class _Where:
    """A point of a method: what ``name`` was bound to last, and what came before; at a join, the ways to it."""

    def __init__(self, before: _Where | None, name: str = "", value: Callable[[], Type | None] | None = None) -> None:
        self.before, self.name, self.value = before, name, value
        self.ways: list[_Where] = []
        self.bound: set[str] = set()
        self.known: dict[str, Type | None] = {}
        self.asked: set[str] = set()

    def find(self, name: str, other: Callable[[str], Type | None]) -> Type | None:
        """The type of a name here; ``other`` tells that of parameters."""
        where: _Where | None = self
        while where is not None:
            if where.name == name and where.value is not None:
                if name not in where.known:
                    where.known[name] = where.value()
                return where.known[name]
            if name in where.bound and name not in where.asked:
                if name not in where.known:
                    where.asked.add(name)  # a way that comes round to here: as it was before the loop
                    where.known[name] = joined(*(way.find(name, other) for way in where.ways))
                    where.asked.discard(name)
                return where.known[name]
            where = where.before
        return other(name)


class _Flow:
    """Follows the statements of a method; types are asked for only where they are needed."""

    def __init__(
        self,
        methods: Mapping[str, cst.FunctionDef],
        method: cst.FunctionDef,
        given: Mapping[str, Callable[[], Type | None]],
        depth: int,
    ) -> None:
        self.methods, self.method, self.given, self.depth = methods, method, given, depth
        self.sites: list[tuple[cst.Call, _Where]] = []
        self.returned: list[tuple[cst.BaseExpression | None, _Where]] = []
        self.parameters = {p.name.value: p for p in all_parameters(method.params)}

    def run(self) -> None:
        end, _ = self.block(suite(self.method.body), _Where(None))
        if end is not None:
            self.returned.append((None, end))

    def type_of(self, node: cst.BaseExpression, where: _Where) -> Type | None:
        return type_of(node, lambda name: where.find(name, self.parameter), lambda call: self.called(call, where))

    def parameter(self, name: str) -> Type | None:
        """The type of a parameter, as it is annotated or given; and of an attribute that the constructor sets."""
        if name.startswith("self."):
            return self.attribute(name)
        param = self.parameters.get(name)
        if param is None:
            return None
        if param.annotation is not None:
            return parts_of(code(param.annotation.annotation))
        return self.given[name]() if name in self.given else None

    def attribute(self, name: str) -> Type | None:
        init = self.methods.get("__init__")
        if init is None or self.depth >= _DEEP:
            return None
        flow = _Flow(self.methods, init, {}, _DEEP)
        values = [a.value for a in of_kind(init, cst.Assign) if any(dotted(t.target) == name for t in a.targets)]
        kinds = [flow.type_of(value, _Where(None)) for value in values]
        return joined(*kinds) if kinds else None

    def called(self, call: cst.Call, where: _Where) -> Type | None:
        """What a call of a method returns: by its annotation, or by its body."""
        method = self.methods.get((dotted(call.func) or "").removeprefix("self."))
        if method is None:
            return None
        if method.returns is not None:
            return parts_of(code(method.returns.annotation))
        if self.depth >= _DEEP or any(a.star for a in call.args):
            return None
        names = [p.name.value for p in all_parameters(method.params) if p.name.value != "self"]
        given: dict[str, Callable[[], Type | None]] = {}
        for index, argument in enumerate(call.args):
            key = argument.keyword.value if argument.keyword else names[index] if index < len(names) else ""
            given[key] = lambda value=argument.value: self.type_of(value, where)  # type: ignore[misc]
        flow = _Flow(self.methods, method, given, self.depth + 1)
        flow.run()
        kinds = [NONE if value is None else flow.type_of(value, at) for value, at in flow.returned]
        return joined(*kinds) if kinds else None

    # ---------------------------------------------------------------------------------------------------- statements
    def block(self, block: Block, where: _Where) -> tuple[_Where | None, set[str]]:
        """The point behind the statements, None where control does not get there, and the names that they bind."""
        names: set[str] = set()
        for node in block:
            if isinstance(node, cst.SimpleStatementLine):
                for small in node.body:
                    if isinstance(small, cst.Return | cst.Raise | cst.Break | cst.Continue):
                        if isinstance(small, cst.Return):
                            self.returned.append((small.value, where))
                        return None, names
                    where = self.line(small, where, names)
                continue
            after, bound = self.compound(node, where)
            names |= bound
            if after is None:
                return None, names
            where = after
        return where, names

    def line(self, node: cst.BaseSmallStatement, where: _Where, names: set[str]) -> _Where:
        here = where
        value = getattr(node, "value", None)
        if isinstance(value, cst.Call) and dotted(value.func) == _CALL:
            self.sites.append((value, here))
        if isinstance(node, cst.Assign):
            for target in node.targets:
                where = self.bind(target.target, lambda: self.type_of(node.value, here), where, names)
        elif isinstance(node, cst.AnnAssign) and node.value is not None:
            kind = parts_of(code(node.annotation.annotation))
            where = self.bind(node.target, lambda: kind, where, names)
        elif isinstance(node, cst.AugAssign):
            where = self.bind(node.target, lambda: None, where, names)
        return where

    def bind(
        self, target: cst.BaseExpression, kind: Callable[[], Type | None], where: _Where, names: set[str]
    ) -> _Where:
        if isinstance(target, cst.Name):
            names.add(target.value)
            return _Where(where, target.value, kind)
        if isinstance(target, cst.Tuple | cst.List):
            count = len(target.elements)
            for index, element in enumerate(target.elements):
                part = (lambda i=index: elements_of(kind(), count)[i]) if type(element) is cst.Element else lambda: None
                where = self.bind(element.value, part, where, names)
        return where

    def compound(self, node: cst.CSTNode, where: _Where) -> tuple[_Where | None, set[str]]:
        if isinstance(node, cst.If):
            yes, bound = self.block(suite(node.body), self.narrowed(node.test, where, True))
            other = self.narrowed(node.test, where, False)
            if isinstance(node.orelse, cst.If):
                no, more = self.compound(node.orelse, other)
            else:
                no, more = self.block(suite(node.orelse.body), other) if node.orelse is not None else (other, set())
            return _join(where, [yes, no], bound | more), bound | more
        if isinstance(node, cst.For | cst.While):
            head = _Where(where)
            inner, names = head, set[str]()
            if isinstance(node, cst.For):
                for name in target_names(node.target):
                    inner = self.bind(cst.Name(name), lambda: None, inner, names)
            end, bound = self.block(suite(node.body), inner)
            head.ways, head.bound = [where, *([end] if end is not None else [])], bound | names
            return head, bound | names
        if isinstance(node, cst.With):
            return self.block(suite(node.body), where)
        if isinstance(node, cst.Try):
            ends, bound = [], set[str]()
            for suited in (node.body, *(h.body for h in node.handlers)):
                end, more = self.block(suite(suited), where)
                ends.append(end)
                bound |= more
            return _join(where, ends, bound), bound
        return where, set()

    def narrowed(self, test: cst.BaseExpression, where: _Where, way: bool) -> _Where:
        """Here, if ``test`` is true, or false: what is, or is not, None by that."""
        if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And) is way:
            return self.narrowed(test.right, self.narrowed(test.left, where, way), way)
        sign = test.comparisons[0].operator if isinstance(test, cst.Comparison) else None
        if not isinstance(test, cst.Comparison) or not isinstance(sign, cst.Is | cst.IsNot):
            return where
        if not isinstance(test.left, cst.Name) or dotted(test.comparisons[0].comparator) != "None":
            return where
        name, none = test.left.value, isinstance(sign, cst.Is) is way

        def kind() -> Type | None:
            found = where.find(name, self.parameter)
            return NONE if none else None if found is None else found - NONE

        return _Where(where, name, kind)


def _join(before: _Where, ways: Sequence[_Where | None], bound: set[str]) -> _Where | None:
    reached = [way for way in ways if way is not None]
    if len(reached) < 2:
        return reached[0] if reached else None
    new = _Where(before)
    new.ways, new.bound = reached, bound
    return new
