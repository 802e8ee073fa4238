"""The text of a tree is what libcst itself writes, for every node."""

from __future__ import annotations

from pathlib import Path

import libcst as cst
import pytest

from omniport.source import text
from omniport.source.text import code
from omniport.source.walk import walk

ROOT = Path(__file__).parents[2]

#: one of each form that the table of writers tells apart
FORMS = '''\
#!/usr/bin/env python
"""Doc."""
import a.b as c, d  # why

from . import (e,
    f,)


class Empty: pass


@decorator  # here
@other(1)
# after them

class Held(Base, * more, metaclass = Meta):

    """Doc."""

    x: int = 1
    y : "str"

    @property
    async def method(self, a, /, b: int, c = 1, *args : int, d, e: str="x", **kwargs) -> None:
        # leading
        if  (a) :
            return

        elif a == b is not c not in d:
            return a , b
        else :
            return(a)
            # footer
        async for i, in range(10) : pass
        else:
            del i
        for (j) in [*a, 1, (2,)]:
            x = y = z[1:2, ::3, ..., a[b]] ; w = 1
        while not - ~ a ** b and c:
            a += 1; b @= 2
        with open(a) as f, open(b):
            raise ValueError(f"{a!r:>{b}} x {c = }" "more" "") from None
        try:
            yield
        except (A, B) as error:
            pass
        finally: assert a, b
        return {**a, "b" : 1, c: {1, 2}, "d": {}} , lambda: 1, lambda x, *y: (x if y else z)

    def two(self, *, a): return [i for i in a if i] + (
        # within
        1
        + 2

    ) * (((a)))(b, * c, d = e, ** f)

    def three(self, *args): ...
    def four(*, a, **b): print(a . b [ 1 ] ( 2 ), (a := 3), () , [], {}, 1.5, 2j, await a)

'''


class Bare(cst.CSTTransformer):
    """Leaves out all layout that libcst has a default for, as nodes made by rewriting do."""

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        names = ("comma", "equal", "semicolon", "whitespace_before_indicator", "whitespace_after_return", "indent")
        held = {n: cst.MaybeSentinel.DEFAULT for n in names if hasattr(updated_node, n)}
        if isinstance(updated_node, cst.IndentedBlock):
            held = {"indent": None}
        elif not isinstance(updated_node, cst.Annotation | cst.Return):
            held.pop("indent", None)
        if isinstance(updated_node, cst.FormattedStringExpression):
            held.clear()
        return updated_node.with_changes(**held) if held else updated_node


def by_libcst(node: cst.CSTNode) -> str:
    module = node if isinstance(node, cst.Module) else cst.Module([])
    return module.code if node is module else module.code_for_node(node)


def differing(tree: cst.Module) -> list[str]:
    """The kinds of nodes of a tree whose text is another than libcst's, or refused by one of the two alone."""
    found = []
    for node in walk(tree):
        try:
            said: object = by_libcst(node)
        except Exception as error:
            said = type(error)
        try:
            ours: object = code(node)
        except Exception as error:
            ours = type(error)
        if said != ours:
            found.append(type(node).__name__)
    return found


@pytest.mark.parametrize("bare", [False, True])
def test_forms(bare: bool) -> None:
    tree = cst.parse_module(FORMS)
    assert differing(tree.visit(Bare()) if bare else tree) == []


@pytest.mark.parametrize("file", ["omniport/port.py", "omniport/source/text.py", "omniport/rewrite/pipeline/pair.py"])
def test_modules(file: str) -> None:
    tree = cst.parse_module((ROOT / file).read_text())
    assert differing(tree) == []
    assert differing(tree.visit(Bare())) == []


@pytest.mark.parametrize("source", ["", "\n", "a", "a\n\n# end", "if a:\n  b\n  if c:\n    d\n", "if a:\r\n\tb\r\n"])
def test_layout_of_modules(source: str) -> None:
    assert code(cst.parse_module(source)) == source


def test_a_wrong_writer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(text._WRITERS, cst.Subscript, lambda node, found: found.append("?"))
    assert "Subscript" in differing(cst.parse_module("a = b[1]\n"))


def test_every_writer_is_of_a_kind_that_the_forms_hold() -> None:
    held = {type(node) for node in _all(cst.parse_module(FORMS))}
    found_later = (text._by_libcst, text._operator, text._prefix)
    kinds = {kind for kind, write in text._WRITERS.items() if cst.CSTNode in kind.__mro__ and write not in found_later}
    assert len(kinds) > 40
    assert kinds - held == set()


def _all(node: cst.CSTNode) -> list[cst.CSTNode]:
    return [node, *(part for child in node.children for part in _all(child))]
