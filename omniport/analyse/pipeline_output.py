"""How a pipeline's call ends: what it returns, and the post-processing that leaves the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Block, Statement, statements, suite
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk

_KINDS: dict[str, Literal["image", "video", "audio"]] = {"images": "image", "frames": "video", "audios": "audio"}


@dataclass(frozen=True)
class Output:
    """``name`` is the variable returned as ``keyword``; ``processor`` the attribute whose ``postprocess`` made it.

    ``arguments`` are the further arguments of that call, as source.
    """

    kind: Literal["image", "video", "audio"]
    keyword: str
    name: str
    processor: str | None
    arguments: tuple[str, ...] = ()


def find_output(entry: cst.FunctionDef, file: str, line: int) -> Output:
    """The output of ``entry``.

    Raises:
        UnsupportedError: it has another number of returns than one, or returns something that is no pipeline output.
    """
    block = suite(entry.body)
    returns = [n for s in statements(block) if isinstance(s, cst.SimpleStatementLine) for n in s.body]
    found = [n for n in returns if isinstance(n, cst.Return)]
    if len(found) != 1 or not isinstance(block[-1], cst.SimpleStatementLine) or found[0] is not block[-1].body[-1]:
        raise UnsupportedError(f"the call returns in {len(found)} places, not once at its end", file, line)
    value = found[0].value
    if not isinstance(value, cst.Call) or len(value.args) != 1:
        raise UnsupportedError(f"return {code(value) if value else ''}: no pipeline output", file, line)
    argument = value.args[0]
    keyword = argument.keyword.value if argument.keyword else "images"
    if keyword not in _KINDS or not isinstance(argument.value, cst.Name):
        raise UnsupportedError(f"return {code(value)}: no pipeline output of a variable", file, line)
    if _KINDS[keyword] != "image":
        raise UnsupportedError(f"{_KINDS[keyword]} output", file, line)
    name = argument.value.value
    processors = _processors(block)
    if len(processors) > 1:
        raise UnsupportedError("several post-processing calls", file, line)
    if not processors:
        return Output(_KINDS[keyword], keyword, name, None)
    statement, call = processors[0]
    owner = dotted(call.func.value) or "" if isinstance(call.func, cst.Attribute) else ""
    if not _replaces(statement, call, name) or not owner.startswith("self.") or owner.count(".") != 1:
        raise UnsupportedError(f"post-processing that does more than replace {name}", file, line)
    rest = tuple(code(a.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for a in call.args[1:])
    return Output(_KINDS[keyword], keyword, name, owner.split(".")[1], rest)


def _processors(block: Block) -> list[tuple[Statement, cst.Call]]:
    found: list[tuple[Statement, cst.Call]] = []
    for node in statements(block):
        if isinstance(node, cst.SimpleStatementLine):
            for inner in walk(node):
                if isinstance(inner, cst.Call) and is_postprocess(inner):
                    found.append((node, inner))
    return found


def is_postprocess(node: cst.Call) -> bool:
    """``self.<processor>.postprocess(...)`` or ``postprocess_video``."""
    return isinstance(node.func, cst.Attribute) and node.func.attr.value in ("postprocess", "postprocess_video")


def _replaces(node: Statement, call: cst.Call, name: str) -> bool:
    """``name = processor.postprocess(name, ...)`` and nothing else."""
    assert isinstance(node, cst.SimpleStatementLine)
    small = node.body[0]
    return (
        len(node.body) == 1
        and isinstance(small, cst.Assign)
        and len(small.targets) == 1
        and dotted(small.targets[0].target) == name
        and small.value is call
        and bool(call.args)
        and dotted(call.args[0].value) == name
    )
