"""A pipeline class that is read, and what has been decided about it so far."""

from __future__ import annotations

import ast
import re

from omniport.analyse.pipeline_components import Index
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, Scalar, Why
from omniport.rewrite.pipeline.normal import ENTRY
from omniport.source.tree import SourceModule, SourceTree


class Record:
    """``decisions`` stay in the plan as they are; ``dropped`` say what of the class the port leaves out."""

    def __init__(self, source: SourceTree, module: SourceModule, class_name: str, index: Index, name: str) -> None:
        self.source, self.module, self.class_name, self.index, self.name = source, module, class_name, index, name
        self.node = module.class_def(class_name)
        methods = {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}
        if ENTRY not in methods or "__init__" not in methods:
            what = f"class {class_name} does not define both __init__ and {ENTRY} itself"
            raise UnsupportedError(what, *self.at(self.node))
        self.call, self.init = methods[ENTRY], methods["__init__"]
        self.dropped: list[Decision] = []
        self.decisions: list[Decision] = []

    def at(self, node: ast.AST) -> tuple[str, int]:
        return self.module.file, getattr(node, "lineno", 0)

    def why(self, reason: str, node: ast.AST) -> Why:
        return Why(reason, *self.at(node))

    def decide(self, subject: str, value: Scalar, reason: str, line: int) -> None:
        self.decisions.append(Decision(subject, value, Why(reason, self.module.file, line)))

    def line_of(self, text: str, after: int = 0) -> int:
        """First line of the call's body, below ``after``, that holds ``text``; the call's own line if none does."""
        return self.line_with(re.escape(text), after)

    def line_with(self, pattern: str, after: int = 0) -> int:
        """The same for a pattern that the line holds."""
        lines = self.module.text.splitlines()
        for number in range(max(after, self.call.body[0].end_lineno or 0), self.call.end_lineno or 0):
            if re.search(pattern, lines[number]):
                return number + 1
        return self.call.lineno

    def line_in_class(self, text: str) -> int:
        """First line of the class that holds ``text``; the line of ``class`` if none does."""
        lines = self.module.text.splitlines()[: self.node.end_lineno]
        return next((n for n, line in enumerate(lines, 1) if n > self.node.lineno and text in line), self.node.lineno)
