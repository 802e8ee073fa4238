"""What a rule is."""

from __future__ import annotations

import abc
import ast
from collections.abc import Iterator
from typing import ClassVar

from omniport.check.finding import Edit as Edit
from omniport.check.finding import Finding as Finding
from omniport.check.port import Port
from omniport.check.source import SourceFile


class Rule(abc.ABC):
    """A rule: its docstring is its documentation, its examples are its tests.

    The docstring says in its first line what is wrong, then what the rule looks for; a paragraph that starts with
    ``Why:`` gives the evidence and one that starts with ``Fix:`` the remedy.  Examples are files of a port.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    #: ports on which the rule must be silent
    VALID: ClassVar[tuple[str, ...]]
    #: ports in which the rule must find something
    INVALID: ClassVar[tuple[str, ...]]

    #: files of a tree around the examples, for a rule that reads one; the examples are then the port ``example``
    TREE: ClassVar[dict[str, str]] = {}

    @abc.abstractmethod
    def check(self, port: Port) -> Iterator[Finding]:
        """Every place of ``port`` that breaks this rule."""

    def at(
        self,
        file: SourceFile,
        node: ast.AST,
        message: str,
        evidence: str | None = None,
        *,
        edits: tuple[Edit, ...] = (),
        blocking: bool = True,
    ) -> Finding:
        """A finding at a node of a file."""
        line, col = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        shown = file.line(line) if evidence is None else evidence
        return Finding(self.code, file.path.as_posix(), line, col, message, shown, edits, blocking)

    @classmethod
    def documentation(cls) -> str:
        import inspect  # slow to import, and only explanations need it

        return inspect.cleandoc(cls.__doc__ or "")

    @classmethod
    def summary(cls) -> str:
        """The first line of the documentation."""
        return cls.documentation().partition("\n")[0]
