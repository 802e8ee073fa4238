"""A local that only stands for another one goes: ``latent_model_input = latents`` is what is left of doubled batches.

``x = y`` goes, and ``x`` is read as ``y``, where nothing else binds ``x`` and every read of it sees the ``y`` of the
alias: either ``y`` is a parameter that nothing binds anew, or the reads follow the alias in its own block, up to the
line that binds ``y`` again or the compound statement that may.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, changed, indented, rewrite_lines, suite
from omniport.rewrite.pipeline.rename import replace_names
from omniport.source.syntax import code

_PAIR = re.compile(r"^ *(\w+) = (?!None\b|True\b|False\b)[A-Za-z_]\w*(?: *#.*)?$", re.MULTILINE)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_BRANCHES = ("body", "orelse", "finalbody")


def without_aliases(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` without such locals; the same object if there is none."""
    more = True
    while more and _PAIR.search(text := code(function)):
        found, more = _aliases(ast.parse(text).body[0])
        if not found:
            break
        block = _without(suite(function.body), found)
        function = changed(function, body=indented([replace_names(s, found) for s in block], function.body))
    return function


def _without(block: Block, aliases: dict[str, str]) -> Block:
    def change(node: cst.SimpleStatementLine) -> Block:
        pair = _pair(node)
        return [] if pair is not None and aliases.get(pair[0]) == pair[1] else [node]

    return rewrite_lines(block, change, comment=_said)


def _said(comment: str) -> bool:
    """Whether a comment above an alias that goes may be about the lines behind it."""
    return "expand the latents" not in comment


def _pair(node: cst.SimpleStatementLine) -> tuple[str, str] | None:
    """The two names of a line ``x = y``."""
    small = node.body[0]
    if len(node.body) != 1 or type(small) is not cst.Assign or len(small.targets) != 1:
        return None
    target, value = small.targets[0].target, small.value
    return (target.value, value.value) if type(target) is cst.Name and type(value) is cst.Name else None


def _aliases(function: ast.AST) -> tuple[dict[str, str], bool]:
    """The aliases of ``function`` that can go with the names that they stand for, and whether others may follow."""
    assert isinstance(function, ast.FunctionDef)
    names: dict[str, list[ast.Name]] = {}
    inner: set[str] = (
        set()
    )  # names that a scope of its own binds, or that are bound in other ways than by an assignment
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            names.setdefault(node.id, []).append(node)
        elif isinstance(node, _SCOPES) and node is not function:
            inner |= {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)} | _stored(node)
        elif isinstance(node, ast.comprehension):
            inner |= _stored(node.target)
        elif isinstance(node, ast.alias):
            inner.add(node.asname or node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            inner |= set(node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            inner.add(node.name)
    own = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    parameters = {a.arg for a in own}
    blocks = list(_blocks(function))
    pairs = {pair: None for block in blocks for node in block if (pair := _named(node)) is not None}
    found: dict[str, str] = {}
    later = False
    for alias, name in pairs:
        if {alias, name} & {*found, *found.values()}:
            later = True
            continue
        if alias in parameters or alias == name or {alias, name} & inner:
            continue
        stores = [n for n in names[alias] if not isinstance(n.ctx, ast.Load)]
        lines = [node for block in blocks for node in block if _named(node) == (alias, name)]
        if len(stores) != len(lines):
            continue
        bound = any(not isinstance(n.ctx, ast.Load) for n in names[name])
        reads = {n for n in names[alias] if isinstance(n.ctx, ast.Load)}
        unchanged = name in parameters and not bound
        if unchanged or (bound and reads <= {n for block in blocks for n in _seen(block, alias, name)}):
            found[alias] = name
    return found, later


def _named(node: ast.stmt) -> tuple[str, str] | None:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return None
    target, value = node.targets[0], node.value
    return (target.id, value.id) if isinstance(target, ast.Name) and isinstance(value, ast.Name) else None


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of a function, those of functions in it aside."""
    for part in _BRANCHES:
        block = getattr(node, part, None)
        if isinstance(block, list) and block:
            yield block
            for statement in block:
                if not isinstance(statement, _SCOPES):
                    yield from _blocks(statement)
    for handler in getattr(node, "handlers", ()):
        yield from _blocks(handler)


def _seen(block: list[ast.stmt], alias: str, name: str) -> Iterator[ast.Name]:
    """The reads of ``alias`` in a block that surely see ``name`` as it is."""
    valid = False
    for node in block:
        if _named(node) == (alias, name):
            valid = True
        elif valid:
            stores = name in _stored(node)
            line = isinstance(node, ast.Assign | ast.AugAssign) and not any(
                isinstance(n, ast.NamedExpr) for n in ast.walk(node)
            )
            if not stores or line:
                yield from _reads(node, alias)
            valid = not stores


def _reads(node: ast.AST, name: str) -> Iterator[ast.Name]:
    """Reads of a name that happen where they stand: those in functions happen later."""
    if isinstance(node, _SCOPES):
        return
    if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _reads(child, name)


def _stored(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
