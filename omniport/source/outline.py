"""What a class says outside of its methods, read without parsing them.

The mixins of a reference class run to thousands of lines, of which a port wants to know the bases, a constant, or
whether there is a method of some name.
"""

from __future__ import annotations

import ast

from omniport.records import dataclass
from omniport.source.reading import parse
from omniport.source.toplevel import Definitions, Span, spans, starts_of


@dataclass(frozen=True)
class Outline:
    """The bases of a class, and what its body defines: methods, assigned names, classes."""

    bases: tuple[ast.expr, ...]
    members: Definitions


def outline(module: Definitions, name: str) -> Outline:
    """The class ``name`` of a module.

    Raises:
        KeyError: the module defines no class of that name.
        OmniportError: the head of the class does not parse.
    """
    if not module.is_class(name):
        raise KeyError(name)
    span = module.span(name)
    end = _end_of_head(module.lines, span)
    if end is None:
        node = module[name]
        assert isinstance(node, ast.ClassDef)
        return Outline(tuple(node.bases), Definitions("\n".join(map(ast.unparse, node.body)), module.file))
    head = parse("\n".join(module.lines[span.head : end]) + "\n pass", module.file, span.head + 1).body[0]
    assert isinstance(head, ast.ClassDef)
    return Outline(tuple(head.bases), _Members(module, Span(end, end, span.end)))


def _end_of_head(lines: list[str], span: Span) -> int | None:
    """The line (0-based) behind the one with the colon; None if the body begins on that line."""
    depth = 0
    for number in range(span.head, span.end):
        code = lines[number].partition("#")[0]
        depth += sum(map(code.count, "([{")) - sum(map(code.count, ")]}"))
        if depth <= 0:
            return number + 1 if code.rstrip().endswith(":") else None
    return None


class _Members(Definitions):
    """Names that the body of a class binds -> the statement that does, parsed when asked for."""

    def __init__(self, module: Definitions, body: Span) -> None:
        self.file, self.lines = module.file, module.lines
        held = self.lines[body.first : body.end]
        line = next((line for line in held if line.strip() and line.lstrip()[0] != "#"), "")
        indent = line[: len(line) - len(line.lstrip())]
        held = [line.removeprefix(indent) for line in held]
        self._starts = starts_of(held)
        found = spans(held, self._starts)
        self._spans = {name: Span(*(body.first + line for line in span)) for name, span in found.items()}
        self._parsed = {}

    def _read(self, text: str, first: int) -> ast.stmt | None:
        outer = parse(f"class _:\n{text}", self.file, first - 1).body[0]
        return outer.body[0] if isinstance(outer, ast.ClassDef) else None
