"""Which methods of a class its constructor and forward may reach, told from words of their text without parsing it.

A class such as diffusers' ``Attention`` has methods for every model, and a port needs few of them.  A method that no
word names is not called; one that a word names by chance is parsed in vain.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.analyse import knowledge
from omniport.source.toplevel import Definitions
from omniport.source.tree import SourceModule, SourceTree

#: Where the use of a class begins.
ROOTS = frozenset({"__init__", "forward", "__call__"})
_WORD = re.compile(r"[A-Za-z_]\w*")
_COMMENT = re.compile(r"#.*")  # or the rest of a text with such a sign in it: what it names is parsed when it is read

Place = tuple[SourceModule, str]


def unnamed(tree: SourceTree, module: SourceModule, name: str, processor: Place | None) -> frozenset[str]:
    """Methods of the class ``name`` and of its bases in the reference that nothing on the way names.

    ``processor`` is the class whose call becomes part of the forward; without one, only what the class does itself
    counts.
    """
    methods: dict[str, list[str]] = {}
    todo = [_text(*processor)] if processor is not None else []
    for place in lineage(tree, module, name):
        members, (first, _, end) = place[0].outline(place[1]).members, place[0].definitions.span(place[1])
        rest = place[0].definitions.lines[first:end]
        for member in droppable(members):
            start, _, stop = members.span(member)
            methods.setdefault(member, []).append("\n".join(members.lines[start:stop]))
            rest[start - first : stop - first] = [""] * (stop - start)
        todo.append("\n".join(rest))
    words: set[str] = set()
    while todo and methods:
        new = set(_WORD.findall(_COMMENT.sub("", todo.pop()))) - words
        words |= new
        for word in new:
            todo += methods.pop(word, [])
    return frozenset(methods)


def droppable(members: Definitions) -> list[str]:
    """The methods of a class that need not be there: those without a decorator that is more than plumbing."""
    functions = (name for name in members if name not in ROOTS and members.is_function(name))
    return [name for name in functions if _decorators(members, name) <= knowledge.DROPPED_DECORATORS]


def _decorators(members: Definitions, name: str) -> set[str]:
    """The decorators of a method as they are written, each with what follows on its line."""
    first, head, _ = members.span(name)
    return {line.strip().removeprefix("@").removesuffix("()") for line in members.lines[first:head]}


def lineage(tree: SourceTree, module: SourceModule, name: str) -> Iterator[Place]:
    """A class and its bases in the reference that are not dropped."""
    yield module, name
    for base in module.outline(name).bases:
        if isinstance(base, ast.Name) and not knowledge.DROPPED_BASES.match(base.id):
            found = tree.resolve(module.name, base.id)
            if found is not None and found[0].definitions.is_class(found[1]) and found != (module, name):
                yield from lineage(tree, *found)


def _text(module: SourceModule, name: str) -> str:
    first, _, end = module.definitions.span(name)
    return "\n".join(module.definitions.lines[first:end])
