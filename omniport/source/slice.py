"""Cut one class or function out of a module, as a libcst node whose statements remember their source lines.

A whole module of a reference package costs more to parse with libcst than all its wanted classes together, and
rewriting loses positions.  So the text of one definition is cut out with :mod:`ast`, every statement is tagged with a
marker comment, and the markers travel through every rewrite; :func:`split_markers` takes them off at the end.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node
from omniport.source.reading import parse, reparse_cst

if TYPE_CHECKING:
    from omniport.source.tree import SourceModule

_MARK = re.compile(r"[ \t]*#@([^\s:]+):(\d+)[ \t]*$")

N = TypeVar("N", cst.ClassDef, cst.FunctionDef)


def definition(module: SourceModule, name: str, kind: type[N]) -> N:
    """The class or function ``name`` of ``module`` as a libcst node with marked statements.

    Raises:
        UnsupportedError: the module defines no such class or function at its top level.
    """
    found = _parsed(module, name)
    if not isinstance(found, kind):
        raise UnsupportedError(f"{name} is another kind of definition than its use expects", module.file)
    return found


@functools.lru_cache(maxsize=500)
def _parsed(module: SourceModule, name: str) -> cst.CSTNode:
    """The node of a definition, shared by all who ask for it: rewrites make new nodes and leave old ones alone."""
    return reparse_cst(_marked(module, name), module.file).body[0]  # comments are all that is new in it


@functools.lru_cache(maxsize=500)
def class_without(module: SourceModule, name: str, droppable: frozenset[str], left_out: frozenset[str]) -> cst.ClassDef:
    """The class ``name`` as :func:`definition` gives it, but for the methods ``left_out``, which are not parsed.

    These are among ``droppable``, which are parsed one by one: another use of the class may take others.

    Raises:
        UnsupportedError: the module defines no such class at its top level.
    """
    if not left_out:
        return definition(module, name, cst.ClassDef)
    members = module.outline(name).members
    if droppable.issuperset(members):  # nothing would be left to parse
        whole = definition(module, name, cst.ClassDef)
        body = [m for m in whole.body.body if not isinstance(m, cst.FunctionDef) or m.name.value not in left_out]
        return whole.with_changes(body=whole.body.with_changes(body=body))
    rest = _rest(module, name, droppable)
    body = [*rest.body.body, *(method(module, name, each) for each in droppable - left_out)]
    body.sort(key=lambda member: (marker(member) or ("", 0))[1])
    return rest.with_changes(body=rest.body.with_changes(body=body))


@functools.lru_cache(maxsize=500)
def _rest(module: SourceModule, name: str, methods: frozenset[str]) -> cst.ClassDef:
    """The class ``name`` but for ``methods``."""
    members, span = module.outline(name).members, module.definitions.span(name)
    lines: list[str] = members.lines[span.first : span.end]
    gone: set[int] = set()
    for each in methods:
        first, end = _lines_of(module, name, each)
        gone.update(range(first - span.first, end - span.first))
    text = "\n".join("" if number in gone else line for number, line in enumerate(lines))
    node = parse(text, module.file, span.first + 1).body[0]
    assert isinstance(node, ast.ClassDef)
    marked = _with_markers(module, node, span.first + 1, own=False, gone={span.first + 1 + number for number in gone})
    found = reparse_cst(marked, module.file).body[0]
    assert isinstance(found, cst.ClassDef)
    return found


def _lines_of(module: SourceModule, cls: str, name: str) -> tuple[int, int]:
    """The first line (0-based) of a method with the comments above it, and the line behind its last one."""
    members = module.outline(cls).members
    first, _, end = members.span(name)
    margin = members.lines[first][: -len(members.lines[first].lstrip())] + "#"
    while _between(members.lines[first - 1], margin):
        first -= 1
    while _between(members.lines[end - 1], margin):
        end -= 1
    return first, end


def _between(line: str, comment: str) -> bool:
    """Whether a line between two members belongs to the second: a comment that is not indented further, or a blank."""
    return not line.strip() or line.startswith(comment)


@functools.lru_cache(maxsize=500)
def method(module: SourceModule, cls: str, name: str) -> cst.FunctionDef:
    """The method ``name`` that the class ``cls`` defines, as :func:`definition` of the class holds it.

    Raises:
        UnsupportedError: the class defines none.
    """
    members = module.outline(cls).members
    node = members.get(name) if members.is_function(name) else None
    if not isinstance(node, ast.FunctionDef):
        raise UnsupportedError(f"{cls} has no method {name}", module.file)
    first, end = _lines_of(module, cls, name)
    held = reparse_cst("class _:\n" + _with_markers(module, node, first + 1, end), module.file).body[0]
    assert isinstance(held, cst.ClassDef) and isinstance(held.body.body[0], cst.FunctionDef)
    return held.body.body[0]


def _marked(module: SourceModule, name: str) -> str:
    """The text of a definition with a marker on every statement."""
    node = module.definitions.get(name)
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        raise UnsupportedError(f"{name} is no class or function at the top level of the module", module.file)
    return _with_markers(module, node, _first(node), own=False)


def _first(node: ast.ClassDef | ast.FunctionDef) -> int:
    """The line on which a definition begins, decorators included."""
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _with_markers(
    module: SourceModule,
    node: ast.ClassDef | ast.FunctionDef,
    first: int,
    last: int = 0,
    *,
    own: bool = True,
    gone: Collection[int] = (),
) -> str:
    """The lines from ``first`` to ``last`` (or the end of ``node``) with a marker on every statement, ``node`` itself
    if ``own``.

    Lines that are ``gone`` are left out.
    """
    lines = module.definitions.lines
    ends: dict[int, int] = {}
    heads: dict[int, int] = {}
    for child in each_node(node):
        if not isinstance(child, ast.stmt):
            continue
        if isinstance(child, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.FunctionDef | ast.ClassDef):
            decorators = getattr(child, "decorator_list", [])
            heads[min([child.lineno, *(d.lineno for d in decorators)])] = child.col_offset
        elif child.end_lineno is not None:
            ends[child.end_lineno] = child.lineno
    out: list[str] = []
    for number in range(first, max(last, node.end_lineno or first) + 1):
        if number in gone:
            continue
        line = lines[number - 1]
        if number in heads and (own or number != first):
            out.append(f"{' ' * heads[number]}#@{module.file}:{number}")
        out.append(f"{line}  #@{module.file}:{ends[number]}" if number in ends else line)
    return "\n".join(out) + "\n"


def marker(node: cst.CSTNode) -> tuple[str, int] | None:
    """File and line of a marked statement, None where it carries no marker."""
    comments: list[cst.Comment | None] = []
    if isinstance(node, cst.SimpleStatementLine):
        comments.append(node.trailing_whitespace.comment)
    leading = getattr(node, "leading_lines", ())
    comments.extend(line.comment for line in reversed(leading))
    for comment in comments:
        if comment and (found := _MARK.search(comment.value)):
            return found.group(1), int(found.group(2))
    return None


class Split(NamedTuple):
    """A text without markers, what they said, and where its lines stood.

    ``origins`` holds 1-based lines of ``code`` -> (file, line) of the source, ``lines`` those of the marked text ->
    those of ``code``.
    """

    code: str
    origins: dict[int, tuple[str, int]]
    lines: dict[int, int]


def split_markers(code: str, parsed: ast.Module | None = None) -> Split:
    """Take the markers off ``code``; ``parsed`` is its tree, where one is in hand."""
    spans: dict[int, int] = {}
    for node in each_node(parsed or ast.parse(code)):
        simple = isinstance(node, ast.stmt) and not hasattr(node, "body")
        if simple and node.end_lineno is not None:  # type: ignore[attr-defined]
            spans[node.end_lineno] = node.lineno  # type: ignore[attr-defined]
    clean: list[str] = []
    numbers: dict[int, int] = {}  # old line -> new line
    marks: dict[int, tuple[str, int]] = {}
    origins: dict[int, tuple[str, int]] = {}
    pending: tuple[str, int] | None = None
    for number, line in enumerate(code.splitlines(), 1):
        found = _MARK.search(line) if "#@" in line else None
        text = line[: found.start()] if found else line
        if found and not text.strip():
            pending = (found.group(1), int(found.group(2)))
            continue
        clean.append(text)
        numbers[number] = len(clean)
        if found:
            marks[number] = (found.group(1), int(found.group(2)))
        elif pending:
            origins[len(clean)] = pending
        pending = None
    for number, mark in marks.items():
        for old in range(spans.get(number, number), number + 1):
            if old in numbers:
                origins[numbers[old]] = mark
    return Split("\n".join(clean) + "\n", origins, numbers)


def move(parsed: ast.Module, lines: Mapping[int, int]) -> None:
    """Let a tree stand on other lines: each of its own -> the new one.  It is changed itself."""
    for node in each_node(parsed):
        held = node.__dict__
        if "lineno" in held:
            held["lineno"], held["end_lineno"] = lines[held["lineno"]], lines[held["end_lineno"]]
