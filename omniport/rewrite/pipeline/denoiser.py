"""What calls a denoiser, and in which form its result is used."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Literal

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import bare, statements, suite
from omniport.rewrite.pipeline.walk import named_calls, target_names
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk

Form = Literal["first", "whole", "list", "lists", "bare"]


@dataclass(frozen=True)
class Denoisers:
    """The denoising models of a pipeline: attribute (``self.transformer``) -> names of its forward's parameters.

    ``bare``: with ``return_dict=False`` the forward returns the prediction itself, not a tuple that starts with it.
    ``lists``: it returns a tuple with lists of tensors, and None in the place of those that there are not.
    """

    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    bare: bool = False
    lists: bool = False

    @functools.cached_property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parameters)

    def names(self, function: cst.FunctionDef) -> frozenset[str]:
        """The attributes, and the locals of ``function`` that hold nothing but one of them."""
        return frozenset(self.attributes) | _aliases(function, self.attributes)


@functools.lru_cache(maxsize=64)
def _aliases(function: cst.FunctionDef, attributes: tuple[str, ...]) -> frozenset[str]:
    yes: set[str] = set()
    no: set[str] = set()
    sure: set[str] = set()
    for node in statements(suite(function.body)):
        if not isinstance(node, cst.SimpleStatementLine):
            continue
        for small in node.body:
            if isinstance(small, cst.Assign) and len(small.targets) == 1:
                name = dotted(small.targets[0].target)
                if name is not None and "." not in name:
                    (yes if _selects(small.value, attributes) else no).add(name)
                    if dotted(small.value) in attributes:
                        sure.add(name)
    return frozenset((yes & sure) - no)


def _selects(node: cst.BaseExpression, attributes: tuple[str, ...]) -> bool:
    """Whether an expression is a denoiser, or None in the place of one that the model does not have."""
    if isinstance(node, cst.IfExp):
        return _selects(node.body, attributes) and _selects(node.orelse, attributes)
    return dotted(node) in (*attributes, "None")


def denoiser_calls(node: cst.CSTNode, names: frozenset[str]) -> tuple[cst.Call, ...]:
    """Calls of a denoiser below ``node``."""
    return tuple(call for name, call in named_calls(node) if name in names)


@dataclass(frozen=True)
class Prediction:
    """``target = call[0]``, ``.sample`` of it, or the whole result; ``wrap`` is what else is applied, ``_`` the result.

    ``form`` is ``first`` where only the first value of the result is used, ``list`` where that is a list of samples.
    """

    index: int
    target: cst.BaseAssignTargetExpression
    call: cst.Call
    form: Form
    wrap: str

    @property
    def name(self) -> str:
        return code(self.target).strip().strip("()").strip()


def prediction(index: int, node: cst.CSTNode, names: frozenset[str]) -> Prediction | None:
    """The prediction that an assignment with exactly one denoiser call makes; None for every other statement."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Assign):
        return None
    assign = node.body[0]
    found = denoiser_calls(node, names)
    if len(found) != 1 or len(assign.targets) != 1:
        return None
    call = found[0]
    if any(a.star for a in call.args):
        return None
    value, form, result = assign.value, "whole", call
    for inner in walk(value):
        plain = isinstance(inner, cst.Subscript) and inner.value is call and _first(inner)
        if plain or (isinstance(inner, cst.Attribute) and inner.value is call and inner.attr.value == "sample"):
            form, result = "first", inner  # type: ignore[assignment]
    wrap = "_" if bare(value) is result or value is result else code(transform(value, _Replace(result)))
    return Prediction(index, assign.targets[0].target, call, form, wrap)  # type: ignore[arg-type]


def _first(node: cst.Subscript) -> bool:
    return len(node.slice) == 1 and code(node.slice[0]).strip() == "0"


def without_samples(function: cst.FunctionDef, denoisers: Denoisers) -> cst.FunctionDef:
    """``denoiser(...).sample`` as what the port's denoiser, which knows no output classes, returns for it."""
    function = transform(function, _Samples(denoisers, denoisers.names(function)))
    indexed = _indexed(function, denoisers.names(function)) if not denoisers.bare else frozenset()
    return transform(function, _First(indexed)) if indexed else function


def _indexed(function: cst.FunctionDef, names: frozenset[str]) -> frozenset[str]:
    """Names that hold the whole result of a denoiser, and of which nothing but the first value is read."""
    whole, other = set[str](), set[str]()
    bound, read, first = Counter[str](), Counter[str](), Counter[str]()
    for node in of_kind(function.body, cst.Assign):
        call = node.value
        made = isinstance(call, cst.Call) and dotted(call.func) in names and not any(a.star for a in call.args)
        for target in (t.target for t in node.targets):
            (whole if made and isinstance(target, cst.Name) else other).update(target_names(target))
            bound.update(target_names(target))
    if not whole - other:
        return frozenset()
    for element in of_kind(function.body, cst.Subscript):
        if isinstance(element.value, cst.Name) and _first(element):
            first[element.value.value] += 1
    read.update(name.value for name in of_kind(function.body, cst.Name))
    return frozenset(n for n in whole - other if first[n] and read[n] == first[n] + bound[n])


class _First(cst.CSTTransformer):
    """``x = denoiser(...)`` and ``x[0]`` as ``x = denoiser(...)[0]`` and ``x``."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        if dotted(original_node.targets[0].target) not in self.names:
            return updated_node
        return updated_node.with_changes(value=cst.parse_expression(f"{code(updated_node.value)}[0]"))

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        if dotted(original_node.value) in self.names and _first(original_node):
            return updated_node.value
        return updated_node


class _Samples(cst.CSTTransformer):
    def __init__(self, denoisers: Denoisers, names: frozenset[str]) -> None:
        self.denoisers, self.names = denoisers, names

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        call = updated_node.value
        if updated_node.attr.value != "sample" or not isinstance(call, cst.Call) or dotted(call.func) not in self.names:
            return updated_node
        rest = [a for a in call.args if a.keyword is None or a.keyword.value != "return_dict"]
        if any("return_dict" in p for _, p in self.denoisers.parameters):
            rest = [*(a.with_changes(comma=_COMMA) for a in rest), _UNPACKED]
        call = call.with_changes(args=rest)
        return call if self.denoisers.bare else cst.parse_expression(f"{code(call)}[0]")


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_NO_SPACE = cst.SimpleWhitespace("")
_UNPACKED = cst.Arg(
    keyword=cst.Name("return_dict"), value=cst.Name("False"), equal=cst.AssignEqual(_NO_SPACE, _NO_SPACE)
)


class _Replace(cst.CSTTransformer):
    """One node replaced by the name ``_``."""

    def __init__(self, node: cst.CSTNode) -> None:
        self.node = node

    def _leave(self, original: cst.CSTNode, updated: cst.CSTNode) -> cst.CSTNode:
        return cst.Name("_") if original is self.node else updated

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return self._leave(original_node, updated_node)  # type: ignore[return-value]

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        return self._leave(original_node, updated_node)  # type: ignore[return-value]

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return self._leave(original_node, updated_node)  # type: ignore[return-value]


def keyword_arguments(
    call: cst.Call, denoisers: Denoisers, names: frozenset[str]
) -> list[tuple[str, cst.BaseExpression]] | None:
    """Arguments of a denoiser call by parameter name; None if one has no name known, as a starred one."""
    known = dict(denoisers.parameters)
    attribute = dotted(call.func) or ""
    parameters = known.get(attribute) or next((p for _, p in denoisers.parameters), ())
    found: list[tuple[str, cst.BaseExpression]] = []
    for position, argument in enumerate(call.args):
        if argument.keyword is not None:
            found.append((argument.keyword.value, argument.value))
        elif not argument.star and position < len(parameters):
            found.append((parameters[position], argument.value))
        else:
            return None
    return found
