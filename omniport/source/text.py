r"""The text of libcst trees, several times faster than libcst writes it.

libcst goes through a context manager for every node that may stand in parentheses and asks every empty blank for its
text; a port's classes are written several times.  Here the common kinds of nodes are written from a table, and
lines and blocks are kept by their node, since most of them are the same from one pass to the next.  A kind that is not
in the table is written by libcst itself.

A kept text has ``\0``, which no source holds, where the indent of its block goes.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import libcst as cst
from libcst._nodes.internal import CodegenState  # no public name makes text without noting positions

_INDENT = "\0"
_BLANKS = "    "
_DEFAULT = cst.MaybeSentinel.DEFAULT
_NOTHING = nullcontext()

_Write = Callable[[Any, list[str]], None]


class _State(CodegenState):
    """Collects the tokens of a text; nobody asks where they stand, and noting it would cost most of the time."""

    def record_syntactic_position(self, *_: Any, **__: Any) -> AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


def code(node: cst.CSTNode) -> str:
    """The source text of a node, indented by four blanks if it is no module with an indent of its own."""
    return _text(node)


@functools.lru_cache(maxsize=20_000)
def _text(node: cst.CSTNode) -> str:
    found: list[str] = []
    if isinstance(node, cst.Module) and (node.default_indent, node.default_newline) != (_BLANKS, "\n"):
        node._codegen(_State(node.default_indent, node.default_newline, tokens=found))
    else:
        _WRITERS[type(node)](node, found)
    return "".join(found).replace(_INDENT, "")


@functools.lru_cache(maxsize=20_000)
def _kept(statement: cst.SimpleStatementLine | cst.FunctionDef) -> str:
    found: list[str] = []
    write: _Write = _line if type(statement) is cst.SimpleStatementLine else _function
    write(statement, found)
    return "".join(found)


def _statement(node: Any, found: list[str]) -> None:
    found.append(_kept(node))


def _by_libcst(node: Any, found: list[str], **place: Any) -> None:
    """``place`` says what stands around the node, as its parent does in libcst."""
    node._codegen(_State(_BLANKS, "\n", indent_tokens=[_INDENT], tokens=found), **place)


def _each(values: Iterable[Any], found: list[str]) -> None:
    for value in values:
        kind = type(value)
        if kind is cst.SimpleWhitespace:  # of all nodes, two in five
            found.append(value.value)
        elif kind is str:
            found.append(value)
        elif value:
            _WRITERS[kind](value, found)


def _parts(*names: str) -> _Write:
    """A node whose text is that of these fields: nodes, sequences of nodes, text, or None."""
    values = operator.attrgetter(*names) if len(names) > 1 else lambda node: (getattr(node, names[0]),)

    def write(node: Any, found: list[str]) -> None:
        for value in values(node):  # as _each
            kind = type(value)
            if kind is cst.SimpleWhitespace:
                found.append(value.value)
            elif value:
                _WRITERS[kind](value, found)

    return write


def _expression(*names: str) -> _Write:
    """The same for a node that may stand in parentheses."""
    return _parts("lpar", *names, "rpar")


def _value(node: Any, found: list[str]) -> None:
    found.append(node.value)


def _atom(node: Any, found: list[str]) -> None:
    if node.lpar:
        _by_libcst(node, found)
    else:
        found.append(node.value)


def _operator(node: Any, found: list[str]) -> None:
    _each((node.whitespace_before, node._get_token(), node.whitespace_after), found)


def _prefix(node: Any, found: list[str]) -> None:
    _each((node._get_token(), node.whitespace_after), found)


def _call(node: cst.Call, found: list[str]) -> None:
    _each((*node.lpar, node.func, node.whitespace_after_func, "(", node.whitespace_before_args), found)
    last = len(node.args) - 1
    for number, argument in enumerate(node.args):
        _argument(argument, found, number != last)
    found.append(")")
    _each(node.rpar, found)


def _argument(node: cst.Arg, found: list[str], follows: bool = False) -> None:
    equal = node.equal if node.equal is not _DEFAULT else " = " if node.keyword else ""
    comma = node.comma if node.comma is not _DEFAULT else ", " if follows else ""
    _each((node.star, node.whitespace_after_star, node.keyword, equal, node.value), found)
    _each((comma, node.whitespace_after_arg), found)


def _elements(node: Any, found: list[str]) -> None:
    """What stands between the brackets of a tuple, a list or a dictionary."""
    last = len(node.elements) - 1
    for number, element in enumerate(node.elements):
        default = ", " if number != last else "," if not last and type(node) is cst.Tuple else ""
        comma = element.comma if element.comma is not _DEFAULT else default
        if type(element) is cst.Element:
            _each((element.value, comma), found)
        elif type(element) is cst.DictElement:
            before, after = element.whitespace_before_colon, element.whitespace_after_colon
            _each((element.key, before, ":", after, element.value, comma), found)
        else:
            _by_libcst(element, found, default_comma=bool(default), default_comma_whitespace=default != ",")


def _opening(bracket: str) -> _Write:
    return lambda node, found: _each((bracket, node.whitespace_after), found)


def _closing(bracket: str) -> _Write:
    return lambda node, found: _each((node.whitespace_before, bracket), found)


def _display(opening: str = "", closing: str = "") -> _Write:
    """A tuple, or with the fields that hold its brackets a list or a dictionary."""

    def write(node: Any, found: list[str]) -> None:
        _each((*node.lpar, getattr(node, opening, None)), found)
        _elements(node, found)
        _each((getattr(node, closing, None), *node.rpar), found)

    return write


def _subscript(node: cst.Subscript, found: list[str]) -> None:
    _each((*node.lpar, node.value, node.whitespace_after_value, node.lbracket), found)
    last = len(node.slice) - 1
    for number, element in enumerate(node.slice):
        default = ", " if number != last else ""
        _each((element.slice, element.comma if element.comma is not _DEFAULT else default), found)
    _each((node.rbracket, *node.rpar), found)


def _slice(node: cst.Slice, found: list[str]) -> None:
    second = node.second_colon if node.second_colon is not _DEFAULT else ":" if node.step else ""
    _each((node.lower, node.first_colon, node.upper, second, node.step), found)


def _choice(node: cst.IfExp, found: list[str]) -> None:
    _each((*node.lpar, node.body, node.whitespace_before_if, "if", node.whitespace_after_if, node.test), found)
    _each((node.whitespace_before_else, "else", node.whitespace_after_else, node.orelse, *node.rpar), found)


def _wrapped_blank(node: cst.ParenthesizedWhitespace, found: list[str]) -> None:
    _each((node.first_line, *node.empty_lines, _INDENT if node.indent else "", node.last_line), found)


def _empty_line(node: cst.EmptyLine, found: list[str]) -> None:
    _each((_INDENT if node.indent else "", node.whitespace, node.comment, node.newline), found)


def _newline(node: cst.Newline, found: list[str]) -> None:
    found.append(node.value or "\n")


def _small(*names: str) -> _Write:
    """A statement on a line of its own: with a semicolon it is left to libcst."""
    write_parts = _parts(*names)

    def write(node: Any, found: list[str]) -> None:
        if node.semicolon is _DEFAULT:
            write_parts(node, found)
        else:
            _by_libcst(node, found)

    return write


def _return(node: cst.Return, found: list[str]) -> None:
    if node.semicolon is not _DEFAULT:
        _by_libcst(node, found)
        return
    blank = node.whitespace_after_return
    _each(("return", blank if blank is not _DEFAULT else " " if node.value else "", node.value), found)


def _assign_target(node: cst.AssignTarget, found: list[str]) -> None:
    _each((node.target, node.whitespace_before_equal, "=", node.whitespace_after_equal), found)


def _line(node: cst.SimpleStatementLine, found: list[str]) -> None:
    if len(node.body) == 1:
        _each((*node.leading_lines, _INDENT, *node.body, node.trailing_whitespace), found)
    else:
        _by_libcst(node, found)


def _block(node: cst.IndentedBlock, found: list[str]) -> None:
    if not node.body:
        _by_libcst(node, found)
        return
    held: list[str] = []
    _each((*node.body, *node.footer), held)
    indent = _INDENT + (_BLANKS if node.indent is None else node.indent)
    _each((node.header, "".join(held).replace(_INDENT, indent)), found)


def _function(node: cst.FunctionDef, found: list[str]) -> None:
    _each((*node.leading_lines, *node.decorators, *node.lines_after_decorators, _INDENT, node.asynchronous), found)
    _each(("def", node.whitespace_after_def, node.name, node.whitespace_after_name, node.type_parameters), found)
    _each((node.whitespace_after_type_parameters, "(", node.whitespace_before_params, node.params, ")"), found)
    if node.returns is not None:
        _annotation(node.returns, found, "->")
    _each((node.whitespace_before_colon, ":", node.body), found)


def _parameters(node: cst.Parameters, found: list[str]) -> None:
    star = node.star_arg
    if node.posonly_params or node.posonly_ind is not _DEFAULT:
        _by_libcst(node, found)
        return
    named = bool(node.kwonly_params)
    last = len(node.params) - 1
    for number, parameter in enumerate(node.params):
        more = number != last or named or star is not _DEFAULT or node.star_kwarg is not None
        _parameter(parameter, found, "", more)
    if type(star) is cst.Param:
        _parameter(star, found, "*", named or node.star_kwarg is not None)
    else:
        _each((star if star is not _DEFAULT else "*, " if named else "",), found)
    last = len(node.kwonly_params) - 1
    for number, parameter in enumerate(node.kwonly_params):
        _parameter(parameter, found, "", number != last or node.star_kwarg is not None)
    if node.star_kwarg is not None:
        _parameter(node.star_kwarg, found, "**", False)


def _parameter(node: cst.Param, found: list[str], star: str, follows: bool) -> None:
    _each((star if node.star is _DEFAULT else node.star, node.whitespace_after_star, node.name), found)
    if node.annotation is not None:
        _annotation(node.annotation, found, ":")
    equal = node.equal if node.equal is not _DEFAULT else " = " if node.default else ""
    comma = node.comma if node.comma is not _DEFAULT else ", " if follows else ""
    _each((equal, node.default, comma, node.whitespace_after_param), found)


def _annotation(node: cst.Annotation, found: list[str], indicator: str) -> None:
    blank = node.whitespace_before_indicator
    before = blank if blank is not _DEFAULT else " " if indicator == "->" else ""
    _each((before, indicator, node.whitespace_after_indicator, node.annotation), found)


def _class(node: cst.ClassDef, found: list[str]) -> None:
    _each((*node.leading_lines, *node.decorators, *node.lines_after_decorators, _INDENT), found)
    _each(("class", node.whitespace_after_class, node.name, node.whitespace_after_name, node.type_parameters), found)
    arguments = (*node.bases, *node.keywords)
    opening, closing = "()" if arguments else ("", "")
    _each((node.whitespace_after_type_parameters, opening if node.lpar is _DEFAULT else node.lpar), found)
    last = len(arguments) - 1
    for number, argument in enumerate(arguments):
        _argument(argument, found, number != last)
    _each((closing if node.rpar is _DEFAULT else node.rpar, node.whitespace_before_colon, ":", node.body), found)


def _if(node: cst.If, found: list[str], word: str = "if") -> None:
    head = (node.whitespace_before_test, node.test, node.whitespace_after_test)
    _each((*node.leading_lines, _INDENT, word, *head, ":", node.body), found)
    if type(node.orelse) is cst.If:
        _if(node.orelse, found, "elif")
    else:
        _each((node.orelse,), found)


def _else(node: cst.Else, found: list[str]) -> None:
    _each((*node.leading_lines, _INDENT, "else", node.whitespace_before_colon, ":", node.body), found)


def _for(node: cst.For, found: list[str]) -> None:
    _each((*node.leading_lines, _INDENT, node.asynchronous, "for", node.whitespace_after_for, node.target), found)
    _each((node.whitespace_before_in, "in", node.whitespace_after_in, node.iter), found)
    _each((node.whitespace_before_colon, ":", node.body, node.orelse), found)


def _module(node: cst.Module, found: list[str]) -> None:
    held: list[str] = []
    _each((*node.header, *node.body, *node.footer), held)
    text = "".join(held)
    if not node.has_trailing_newline:
        text = text.removesuffix("\n")
    found.append(text or "\n" * node.has_trailing_newline)


class _Table(dict[type, _Write]):
    """What writes each kind of node, and of what else stands in the fields of one."""

    def __missing__(self, kind: type) -> _Write:
        found: _Write = _by_libcst
        implementation = getattr(kind, "_codegen_impl", None)
        if implementation is cst.Add._codegen_impl:
            found = _operator
        elif implementation is cst.Not._codegen_impl:
            found = _prefix
        self[kind] = found
        return found


_line_end = _parts("whitespace", "comment", "newline")
_operation = _expression("left", "operator", "right")
_WRITERS = _Table(
    {
        str: lambda value, found: found.append(value),
        list: _each,
        tuple: _each,
        cst.Arg: _argument,
        cst.Assign: _small("targets", "value"),
        cst.AssignTarget: _assign_target,
        cst.Attribute: _expression("value", "dot", "attr"),
        cst.AugAssign: _small("target", "operator", "value"),
        cst.BinaryOperation: _operation,
        cst.BooleanOperation: _operation,
        cst.Call: _call,
        cst.ClassDef: _class,
        cst.Comment: _value,
        cst.Comparison: _expression("left", "comparisons"),
        cst.ComparisonTarget: _parts("operator", "comparator"),
        cst.Dict: _display("lbrace", "rbrace"),
        cst.Else: _else,
        cst.EmptyLine: _empty_line,
        cst.Expr: _small("value"),
        cst.Float: _atom,
        cst.For: _for,
        cst.FormattedString: _expression("start", "parts", "end"),
        cst.FormattedStringText: _value,
        cst.FunctionDef: _statement,
        cst.If: _if,
        cst.IfExp: _choice,
        cst.IndentedBlock: _block,
        cst.Index: _parts("star", "whitespace_after_star", "value"),
        cst.Integer: _atom,
        cst.LeftCurlyBrace: _opening("{"),
        cst.LeftParen: _opening("("),
        cst.LeftSquareBracket: _opening("["),
        cst.List: _display("lbracket", "rbracket"),
        cst.Module: _module,
        cst.Name: _atom,
        cst.Newline: _newline,
        cst.Parameters: _parameters,
        cst.ParenthesizedWhitespace: _wrapped_blank,
        cst.Return: _return,
        cst.RightCurlyBrace: _closing("}"),
        cst.RightParen: _closing(")"),
        cst.RightSquareBracket: _closing("]"),
        cst.SimpleStatementLine: _statement,
        cst.SimpleString: _atom,
        cst.SimpleWhitespace: _value,
        cst.Slice: _slice,
        cst.Subscript: _subscript,
        cst.TrailingWhitespace: _line_end,
        cst.Tuple: _display(),
        cst.UnaryOperation: _expression("operator", "expression"),
    }
)
