"""Two helpers for every rewrite: it changes this to that, or it leaves it alone."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import libcst as cst

from omniport.rewrite.normal.usage import UsageCache

Classes = dict[str, cst.ClassDef]
Rewrite = Callable[[Classes], Classes]


def classes(text: str) -> Classes:
    """The classes of ``text`` by name, in order."""
    module = cst.parse_module(dedent(text).lstrip())
    return {node.name.value: node for node in module.body if isinstance(node, cst.ClassDef)}


def text(found: Classes) -> str:
    return cst.Module(list(found.values())).code


def check_transformed(rewrite: Rewrite, before: str, after: str) -> None:
    """``rewrite`` turns ``before`` into ``after``, which must itself parse."""
    expected = text(classes(after))
    assert text(rewrite(classes(before))) == expected


def check_noop(rewrite: Rewrite, before: str) -> None:
    """``rewrite`` leaves ``before`` byte for byte."""
    found = classes(before)
    assert text(rewrite(dict(found))) == text(found)


def each(function: Callable[..., cst.ClassDef]) -> Rewrite:
    """A rewrite of one class with the facts of all, applied to every class in turn."""

    def rewrite(found: Classes) -> Classes:
        cache = UsageCache()
        for name in found:
            found[name] = function(found[name], cache.of(found))
        return found

    return rewrite
