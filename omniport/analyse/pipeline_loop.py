"""The denoising of a normalised pipeline: where it stands in the call, and what goes through it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import libcst as cst

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Statement, bound, reads, statements, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls
from omniport.rewrite.pipeline.liveness import live_in
from omniport.rewrite.pipeline.walk import attributes, calls, named_calls
from omniport.source.syntax import code, dotted

PREDICT = ("self.predict_noise_maybe_with_cfg", "self.predict_noise_with_multi_branch_cfg")


def find_span(entry: cst.FunctionDef, denoisers: Denoisers, file: str, line: int) -> tuple[int, int]:
    """First statement of the call that is part of the denoising, and the one after the last.

    Raises:
        UnsupportedError: the call runs no denoiser, or returns in the midst of it.
    """
    block = suite(entry.body)
    names = denoisers.names(entry)
    holders = [i for i, s in enumerate(block) if denoiser_calls(s, names) or calls(s, *PREDICT)]
    if not holders:
        raise UnsupportedError("the call runs no denoiser itself", file, line)
    start, stop = holders[0], holders[-1] + 1
    inside = block[start:stop]
    if any(_returns(s) for s in statements(inside)):
        raise UnsupportedError("the call returns in the midst of the denoising", file, line)
    while start and _configures_scheduler(block[start - 1]):
        start -= 1
    return start, stop


def through_loop(entry: cst.FunctionDef, span: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Names that the denoising reads and the call binds before it; names that it binds and the call reads after it."""
    block = suite(entry.body)
    start, stop = span
    own = {p.name.value for p in entry.params.params} - {"self"} | bound(block[:start])
    after = live_in(block[stop:])
    inside = block[start:stop]
    needed = live_in(inside)
    order = [n for n in reads(*inside) if n in needed and n in own]
    changed = {n for s in statements(inside) for n in (*_elements(s), *_grown(s))} & own
    return order, [n for n in _ordered(bound(inside) | changed, inside) if n in after]


def _returns(node: Statement) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and any(isinstance(s, cst.Return) for s in node.body)


def _configures_scheduler(node: Statement) -> bool:
    """An expression statement on the scheduler, such as ``self.scheduler.set_begin_index(0)``."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Expr):
        return False
    value = node.body[0].value
    return isinstance(value, cst.Call) and (dotted(value.func) or "").startswith("self.scheduler.")


def denoiser_attributes(nodes: Iterable[cst.FunctionDef], denoisers: Denoisers) -> tuple[str, ...]:
    """Config values of the denoisers that the methods read, in order: ``self.transformer.config.X``."""
    found: dict[str, None] = {}
    for node in nodes:
        for name in denoisers.attributes:
            found.update(dict.fromkeys(attributes(node, f"{name}.config")))
    return tuple(found)


def denoiser_members(nodes: Iterable[cst.FunctionDef], denoisers: Denoisers) -> tuple[str, ...]:
    """What the methods use of the denoisers besides calling them, their config values, dtype and device."""
    found: dict[str, None] = {}
    for node in nodes:
        for name in denoisers.attributes:
            found.update(dict.fromkeys(attributes(node, name)))
    return tuple(n for n in found if n not in ("config", "dtype", "device") and not n.startswith("__"))


def handed_on(nodes: Iterable[cst.FunctionDef], denoisers: Denoisers) -> str | None:
    """The first function that gets a denoiser itself, as ``from_transformer`` of a ControlNet that shares modules."""
    for node in nodes:
        for name, call in named_calls(node):
            harmless = name.rpartition(".")[2] in knowledge.HARMLESS
            if not harmless and any(dotted(a.value) in denoisers.attributes for a in call.args):
                return name
    return None


def _elements(node: Statement) -> list[str]:
    """Names whose elements a statement assigns to."""
    found = []
    for small in node.body if isinstance(node, cst.SimpleStatementLine) else ():
        for target in small.targets if isinstance(small, cst.Assign) else ():
            if isinstance(target.target, cst.Subscript) and isinstance(target.target.value, cst.Name):
                found.append(target.target.value.value)
    return found


def _grown(node: Statement) -> list[str]:
    """Names of lists that a statement appends to."""
    found = []
    for small in node.body if isinstance(node, cst.SimpleStatementLine) else ():
        call = small.value if isinstance(small, cst.Expr) else None
        if (
            isinstance(call, cst.Call)
            and isinstance(call.func, cst.Attribute)
            and call.func.attr.value in ("append", "extend")
            and isinstance(call.func.value, cst.Name)
        ):
            found.append(call.func.value.value)
    return found


def _ordered(names: set[str], block: list[Any]) -> list[str]:
    text = " ".join(code(s) for s in block)
    return sorted(names, key=lambda n: match.start() if (match := re.search(rf"\b{n}\b", text)) else 0)
