"""TODOs of the plan that stand nowhere in the code yet: each gets a comment at the head of the file it is about."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable

from omniport.custom.todo import marker
from omniport.emit.render import comment
from omniport.plan.model import Decision
from omniport.plan.todos import markers

#: what is said of the code that was brought along; every other gap is the pipeline's
_OF_THE_CODE = frozenset({"NATIVE", "ATTN", "BASE", "DEPENDENCY", "LICENCE"})
_WIDTH = 116


def heads(todos: Iterable[Decision], texts: Iterable[str]) -> tuple[str, str]:
    """The comments for the transformer's file and for the pipeline's, so that plan and code name the same gaps.

    Args:
        todos: of the plan.
        texts: every file of the port.
    """
    there = Counter(found.identity for text in texts for found in markers(text))
    lines: tuple[list[str], list[str]] = ([], [])
    for left in todos:
        if there[left.subject]:
            there[left.subject] -= 1
            continue
        where = f" ({left.why.file}:{left.why.line})" if left.why.file and left.why.line else ""
        text = comment(f"{marker(left.subject)}: {left.value}{where}")
        lines[left.subject not in _OF_THE_CODE].extend(textwrap.wrap(text, _WIDTH))
    code, pipeline = ("".join(f"# {line}\n" for line in found) for found in lines)
    return code and code + "\n", pipeline and pipeline + "\n"
