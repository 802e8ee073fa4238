"""The constructs that double a batch for guidance, that join two sides to one, and that halve it again."""

from __future__ import annotations

import re

import libcst as cst

from omniport.rewrite.pipeline.blocks import bare
from omniport.source.syntax import code, dotted
from omniport.source.transform import replaced
from omniport.source.walk import of_kind, walk

Expression = cst.BaseExpression
NEGATIVE = re.compile(r"neg|uncond|null")

#: Attributes and methods whose value is the same for both sides (the batch aside, which shrinks by itself).
META = frozenset({"dtype", "device", "shape", "ndim", "is_floating_point", "requires_grad"})
META_CALLS = frozenset({"size", "dim", "ndimension"})


def text(node: cst.CSTNode) -> str:
    """Source of a node without the parentheses and blanks around it."""
    if type(node) is cst.Name:
        return node.value
    return code(bare(node)).strip()


def joined(node: Expression) -> tuple[list[Expression], str] | None:
    """Elements and dimension of ``torch.cat([a, b], dim=d)`` or ``torch.cat([a] * 2)``; None for anything else."""
    if not isinstance(node, cst.Call) or dotted(node.func) not in ("torch.cat", "torch.concat") or not node.args:
        return None
    dim = "0"
    for position, argument in enumerate(node.args[1:], 1):
        if (argument.keyword.value if argument.keyword else "dim") in ("dim", "axis") and position < 3:
            dim = text(argument.value)
    first = bare(node.args[0].value)
    if isinstance(first, cst.List | cst.Tuple):
        return [e.value for e in first.elements], dim
    if isinstance(first, cst.BinaryOperation) and isinstance(first.operator, cst.Multiply) and text(first.right) == "2":
        inner = bare(first.left)
        if isinstance(inner, cst.List) and len(inner.elements) == 1:
            return [inner.elements[0].value] * 2, dim
    return None


def doubled(node: Expression, guarded: bool) -> Expression | None:
    """``y`` of ``cat([y] * 2)``, ``cat([y, y])`` along the batch and, below the guard, of ``y.repeat(2, 1, ...)``."""
    node = bare(node)  # type: ignore[assignment]
    found = joined(node)
    if found is not None:
        items, dim = found
        return items[0] if len(items) == 2 and text(items[0]) == text(items[1]) and dim == "0" else None
    if not guarded:
        return None
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "repeat":
        values = [text(a.value) for a in node.args]
        if values and values[0] == "2" and all(v == "1" for v in values[1:]):
            return node.func.value
        if len(values) == 1 and re.fullmatch(r"\(2,\) \+ \(1,\) \* \(.*\)", code(node.args[0].value).strip()):
            return node.func.value
    if (
        isinstance(node, cst.BinaryOperation)
        and isinstance(node.operator, cst.Multiply)
        and text(node.right) == "2"
        and isinstance(node.left, cst.Name)
        and node.left.value.endswith(("list", "lists"))
    ):
        return node.left
    return None


def sides(node: Expression) -> tuple[Expression, Expression, str] | None:
    """(negative, positive, order) of a concatenation of exactly one negative-like side with another; None otherwise.

    ``order`` is ``np`` where the negative side comes first.  Lists are joined by ``+``.
    """
    node = bare(node)  # type: ignore[assignment]
    found = joined(node)
    items: list[Expression] | None = found[0] if found is not None else None
    if items is None and isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        plain = re.compile(r"(list\()?[a-z_0-9]+\)?")
        if plain.fullmatch(text(node.left)) and plain.fullmatch(text(node.right)):
            items = [node.left, node.right]
    if items is None or len(items) != 2:
        return None
    negative = [bool(NEGATIVE.search(text(i))) for i in items]
    if negative[0] == negative[1]:
        return None
    return (items[0], items[1], "np") if negative[0] else (items[1], items[0], "pn")


def chunked(node: Expression) -> Expression | None:
    """``e`` of ``e.chunk(2)`` or ``torch.split(e, len(e) // 2)`` along the batch."""
    node = bare(node)  # type: ignore[assignment]
    if not isinstance(node, cst.Call) or not node.args:
        return None
    if isinstance(node.func, cst.Attribute) and node.func.attr.value == "chunk" and text(node.args[0].value) == "2":
        rest = [text(a.value) for a in node.args[1:]]
        return node.func.value if all(r == "0" for r in rest) else None
    if (
        dotted(node.func) == "torch.split"
        and len(node.args) > 1
        and re.fullmatch(r"len\(\w+\) // 2", text(node.args[1].value))
    ):
        return node.args[0].value
    return None


def factor_removed(node: Expression) -> Expression:
    """The expression with every factor 2 and every ``.repeat(2)`` gone."""

    def without(inner: cst.CSTNode) -> cst.CSTNode | None:
        if type(inner) is cst.BinaryOperation and isinstance(inner.operator, cst.Multiply):
            if text(inner.right) == "2":
                return factor_removed(inner.left)
            if text(inner.left) == "2":
                return factor_removed(inner.right)
        if (
            type(inner) is cst.Call
            and isinstance(inner.func, cst.Attribute)
            and inner.func.attr.value == "repeat"
            and len(inner.args) == 1
            and text(inner.args[0].value) == "2"
        ):
            return factor_removed(inner.func.value)
        return None

    return replaced(node, without)


def only_doubles(method: cst.FunctionDef, flag: str) -> bool | None:
    """Whether ``flag`` of a helper switches nothing but doubling.

    None: it switches no doubling at all.  False: it joins two sides, or does more than doubling beside it.
    """
    found = False
    choices: list[cst.If | cst.IfExp] = [*of_kind(method, cst.If), *of_kind(method, cst.IfExp)]
    for node in choices:
        if flag in re.findall(r"[\w.]+", code(node.test)):
            kinds = _kinds(node)
            if "joins" in kinds:
                return False
            if "doubles" in kinds:
                found = True
                if isinstance(node, cst.If) and (node.orelse is not None or kinds != {"doubles"}):
                    return False
    return True if found else None


def _kinds(node: cst.If | cst.IfExp) -> set[str]:
    if isinstance(node, cst.IfExp):
        return {_kind(node.body)}
    kinds = set()
    body = node.body.body if isinstance(node.body, cst.IndentedBlock) else [cst.SimpleStatementLine(node.body.body)]  # type: ignore[arg-type]
    for statement in body:
        small = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
        if isinstance(small, cst.Assign):
            kinds.add(_kind(small.value))
        else:
            inner = {_kind(e) for e in walk(statement) if isinstance(e, cst.BaseExpression)}
            kinds.add("joins" if "joins" in inner else "doubles other" if "doubles" in inner else "other")
    return {"joins"} if "doubles other" in kinds else kinds


def _kind(value: Expression) -> str:
    if doubled(value, True) is not None:
        return "doubles"
    if any(isinstance(e, cst.BaseExpression) and sides(e) is not None for e in walk(value) if joined_or_sum(e)):
        return "joins"
    return "other"


def joined_or_sum(node: cst.CSTNode) -> bool:
    """Whether a node can join two sides at all."""
    return isinstance(node, cst.Call) and joined(node) is not None
