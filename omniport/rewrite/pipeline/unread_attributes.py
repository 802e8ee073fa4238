"""What the reference's constructor keeps for other classes of its family, and nothing in the port reads."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import Statement, assigned, changed, indented, pure, reads, suite
from omniport.rewrite.pipeline.walk import attributes, calls
from omniport.source.syntax import dotted
from omniport.source.walk import of_kind

#: What every pipeline of the target has, read or not.
_ENGINE = frozenset({"od_config", "device", "weights_sources"})


def without_unread_attributes(
    methods: Sequence[cst.FunctionDef], kept: Collection[str] = (), owners: Collection[str] = ("self",)
) -> list[cst.FunctionDef]:
    """The methods, constructor first, of which the constructor has no line ``self.x = value`` for an unread ``x``.

    A value whose evaluation does something stays, and so do the attributes ``kept`` and what several lines assign.
    ``owners``: the names of the object and its class.
    """
    init, *others = methods
    if any(_by_any_name(m) for m in methods):
        return list(methods)
    read = {name for m in others for owner in owners for name in attributes(m, owner)} | _ENGINE | set(kept)
    block = suite(init.body)
    idle: set[str] = set()  # names that only lines which are gone have read
    while True:
        left = [node for i, node in enumerate(block) if not _unread(block, i, read) and not _named(node, idle)]
        if len(left) == len(block):
            break
        idle = reads(*(node for node in block if node not in left)).keys() - reads(*left).keys()
        block = left
    return [changed(init, body=indented(block, init.body)), *others]


def _unread(block: Sequence[Statement], index: int, read: set[str]) -> bool:
    node = block[index]
    small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) > 1 or not pure(small.value):
        return False
    owner, _, name = (dotted(small.targets[0].target) or "").partition(".")
    if owner != "self" or not name.isidentifier() or name in read:
        return False
    return not any(name in _mentioned(other) for i, other in enumerate(block) if i != index)


def _named(node: Statement, names: set[str]) -> bool:
    """Whether a line does nothing but to name a value, or what the model's config says, by one of ``names``."""
    found = assigned(node)
    if found is None or found[0] not in names:
        return False
    return pure(found[1]) or any(dotted(c.func) == "get_hf_file_to_dict" for c in of_kind(found[1], cst.Call))


@functools.lru_cache(maxsize=1024)
def _mentioned(node: cst.CSTNode) -> set[str]:
    """Attributes that a statement reads or writes."""
    return {n.attr.value for n in of_kind(node, cst.Attribute)} | attributes(node).keys()


def _by_any_name(method: cst.FunctionDef) -> bool:
    """Whether an attribute of the object is asked for by a name that is not written out."""
    for call in calls(method, "getattr", "hasattr", "vars"):
        if not call.args:
            continue
        named = len(call.args) > 1 and isinstance(call.args[1].value, cst.SimpleString)
        if dotted(call.args[0].value) == "self" and not named:
            return True
    return False
