"""Small things every rewrite needs: reading and making libcst nodes."""

from __future__ import annotations

import functools
import keyword
from collections.abc import Iterator, Sequence

import libcst as cst

from omniport.source.syntax import code as code
from omniport.source.syntax import dotted as chain
from omniport.source.transform import transform
from omniport.source.walk import children, of_kind


def expression(text: str) -> cst.BaseExpression:
    named = text.isidentifier() and (text not in keyword.kwlist or text in ("None", "True", "False"))
    return cst.Name(text) if named else cst.parse_expression(text)


def statements(text: str) -> list[cst.BaseStatement]:
    """Top-level statements of ``text``."""
    return list(cst.parse_module(text).body)


def method(node: cst.ClassDef, name: str) -> cst.FunctionDef | None:
    """A method of a class by name."""
    for item in node.body.body:
        if isinstance(item, cst.FunctionDef) and item.name.value == name:
            return item
    return None


def dotted(node: cst.CSTNode) -> str:
    """``a.b.c`` for names and attributes, "" for anything else."""
    return chain(node) or ""


def self_attribute(node: cst.CSTNode) -> str:
    """``x`` for ``self.x``, "" for anything else."""
    owner, _, name = dotted(node).rpartition(".")
    return name if owner == "self" else ""


def single(statement: cst.CSTNode) -> cst.BaseSmallStatement | None:
    """The only small statement of a line."""
    if type(statement) is cst.SimpleStatementLine and len(statement.body) == 1:
        return statement.body[0]
    return None


def assignment(statement: cst.CSTNode) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
    """Target and value of a line ``target = value``."""
    small = single(statement)
    if type(small) is cst.Assign and len(small.targets) == 1:
        return small.targets[0].target, small.value
    return None


def module_path(node: cst.CSTNode) -> str:
    """``to_out.0`` for ``self.to_out[0]``, ``to_q`` for ``self.to_q``, "" for anything else."""
    if isinstance(node, cst.Subscript) and len(node.slice) == 1:
        item, owner = node.slice[0].slice, module_path(node.value)
        if owner and isinstance(item, cst.Index) and isinstance(item.value, cst.Integer):
            return f"{owner}.{item.value.value}"
        return ""
    return self_attribute(node)


def names_in(node: cst.CSTNode) -> Iterator[str]:
    """All names and attribute names that occur, with repetition."""
    return (name.value for name in of_kind(node, cst.Name))


def variables(node: cst.CSTNode) -> Iterator[str]:
    """Names that are read or bound as variables: no attribute names, no keywords of calls."""
    todo = [node]
    while todo:
        current = todo.pop()
        if type(current) is cst.SimpleStatementLine and current is not node:
            yield from _variables(current)
        elif type(current) is cst.Name:
            yield current.value
        elif type(current) is cst.Attribute or type(current) is cst.Arg:
            todo.append(current.value)
        else:
            todo.extend(reversed(children(current)))


@functools.lru_cache(maxsize=20_000)
def _variables(line: cst.SimpleStatementLine) -> tuple[str, ...]:
    """What :func:`variables` gives for a line: passes leave most of them alone."""
    return tuple(variables(line))


def assignments(node: cst.CSTNode) -> Iterator[tuple[cst.BaseExpression, cst.BaseExpression]]:
    """Target and value of every line ``target = value`` in ``node``."""
    return (pair for line in of_kind(node, cst.SimpleStatementLine) if (pair := assignment(line)) is not None)


def with_keywords(call: cst.Call, keywords: Sequence[tuple[str, str]]) -> cst.Call:
    """``call`` with keyword arguments appended."""
    added = [cst.Arg(expression(value), keyword=cst.Name(name), equal=_EQUAL) for name, value in keywords]
    args = [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in call.args]
    space = cst.SimpleWhitespace("")
    return call.with_changes(args=[*args, *added], whitespace_before_args=space)


_EQUAL = cst.AssignEqual(whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace(""))


class Replacer(cst.CSTTransformer):
    """Replaces expressions by their source text."""

    def __init__(self, mapping: dict[str, str]) -> None:
        self.mapping = mapping

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        text = self.mapping.get(code(original_node))
        return updated_node if text is None else expression(text)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        text = self.mapping.get(code(original_node))
        return updated_node if text is None else expression(text)


def substitute(node: cst.CSTNode, mapping: dict[str, str]) -> cst.CSTNode:
    """``node`` with each name or dotted name of ``mapping`` replaced."""
    result = transform(node, Replacer(mapping))
    assert isinstance(result, cst.CSTNode)
    return result


def imported_names(module: cst.Module) -> dict[str, str]:
    """Names that the imports at the top of a module bind, and what they stand for: ``{"F": "torch.nn.functional"}``."""
    found: dict[str, str] = {}
    for line in module.body:
        small = single(line)
        if isinstance(small, cst.ImportFrom | cst.Import) and not isinstance(small.names, cst.ImportStar):
            owner = f"{dotted(small.module)}." if isinstance(small, cst.ImportFrom) and small.module else ""
            for alias in small.names:
                bound = alias.asname.name if alias.asname is not None else alias.name
                found[dotted(bound)] = f"{owner}{dotted(alias.name)}"
    return found
