"""The denoise loop of a normalised pipeline: where it stands, how it guides, how it steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Block, Statement, bare, reads, same, suite
from omniport.rewrite.pipeline.walk import attributes, calls, target_names
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk

DENOISER = "self.transformer"


@dataclass(frozen=True)
class Prediction:
    """``target = self.transformer(...)[0]``: its place in its block, the name it binds, the call."""

    index: int
    target: str
    call: cst.Call


@dataclass(frozen=True)
class DenoiseLoop:
    """The loop: ``start`` up to ``stop`` are the statements of the entry that make up the denoising.

    ``bar`` is the name of the progress bar.  With a second branch, ``guard`` is the condition under which it runs,
    ``branch`` the index of its ``if`` in ``body``, ``combine`` whether the source combines as the target's mixin
    does (``default``) or in its own way (``own``), and ``scale`` the factor.  ``step`` is the index of the plain
    scheduler step ``latents = scheduler.step(prediction, t, latents)``, None if the source steps otherwise.
    """

    start: int
    stop: int
    node: cst.For
    bar: str | None
    body: Block
    positive: Prediction
    negative: Prediction | None = None
    branch: int = -1
    guard: cst.BaseExpression | None = None
    combine: Literal["default", "own"] | None = None
    scale: cst.BaseExpression | None = None
    step: int | None = None


def find_loop(entry: cst.FunctionDef, file: str, line: int) -> DenoiseLoop:
    """The one loop of ``entry`` that calls the denoiser.

    Raises:
        UnsupportedError: there is none, or its calls are of a form that no rule covers; ``line`` goes in the message.
    """
    block = suite(entry.body)
    holders = [i for i, s in enumerate(block) if calls(s, DENOISER)]
    if len(holders) != 1:
        what = f"the denoiser is called in {len(holders)} statements of the call, not in one"
        raise UnsupportedError(what, file, line)
    stop = holders[0] + 1
    statement, bar = block[holders[0]], None
    if isinstance(statement, cst.With):
        inner = suite(statement.body)
        name = statement.items[0].asname
        if len(inner) != 1 or not calls(statement.items[0], "self.progress_bar") or name is None:
            raise UnsupportedError(f"with {code(statement.items[0])}: around the denoise loop", file, line)
        bar, statement = dotted(name.name), inner[0]
    if not isinstance(statement, cst.For):
        raise UnsupportedError("the denoiser is not called in a for loop at the top of the call", file, line)
    start = holders[0]
    while start and _configures_scheduler(block[start - 1]):
        start -= 1
    body = suite(statement.body)
    positive, negative, branch = _predictions(body, file, line)
    if negative is None and (doubled := next((c for s in body if (c := _doubling(s)) is not None), None)):
        raise UnsupportedError(f"guidance over a doubled batch: {code(doubled)}", file, line)
    loop = DenoiseLoop(start, stop, statement, bar, body, positive, negative, branch, step=_step(body))
    return loop if negative is None else _guided(loop)


def _configures_scheduler(node: Statement) -> bool:
    """An expression statement on the scheduler, such as ``self.scheduler.set_begin_index(0)``."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Expr):
        return False
    value = node.body[0].value
    return isinstance(value, cst.Call) and (dotted(value.func) or "").startswith("self.scheduler.")


def _predictions(body: Block, file: str, line: int) -> tuple[Prediction, Prediction | None, int]:
    places = [i for i, s in enumerate(body) if calls(s, DENOISER)]
    count = sum(len(calls(s, DENOISER)) for s in body)
    first = _prediction(places[0], body[places[0]])
    if first is None:
        raise UnsupportedError("the prediction is no plain `x = self.transformer(...)[0]`", file, line)
    if count == 1:
        return first, None, -1
    guarded = body[places[-1]]
    if count != 2 or len(places) != 2 or not isinstance(guarded, cst.If) or guarded.orelse is not None:
        what = f"{count} calls of the denoiser in the loop, not a prediction and a guarded one"
        raise UnsupportedError(what, file, line)
    inner = suite(guarded.body)
    index = next(i for i, s in enumerate(inner) if calls(s, DENOISER))
    second = _prediction(index, inner[index])
    if second is None:
        raise UnsupportedError("the guarded prediction is no plain `x = self.transformer(...)[0]`", file, line)
    return first, second, places[-1]


def _prediction(index: int, node: Statement) -> Prediction | None:
    """``x = self.transformer(...)[0]`` with ``return_dict=False``, or ``.sample`` without."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Assign):
        return None
    assign = node.body[0]
    target = assign.targets[0].target
    value = bare(assign.value)
    if len(assign.targets) != 1 or not isinstance(target, cst.Name):
        return None
    call: cst.CSTNode | None = None
    first = isinstance(value, cst.Subscript) and len(value.slice) == 1 and code(value.slice[0]).strip() == "0"
    if first or (isinstance(value, cst.Attribute) and value.attr.value == "sample"):
        call = value.value  # type: ignore[attr-defined]
    if not isinstance(call, cst.Call) or dotted(call.func) != DENOISER:
        return None
    if any(a.keyword is None or a.star for a in call.args):
        return None
    return Prediction(index, target.value, call)


def _doubling(node: Statement) -> cst.Call | None:
    """A call that doubles a batch or halves one: ``cat([x] * 2)``, ``x.repeat(2, ...)``, ``x.chunk(2)``, ``split``."""
    for call in walk(node):
        if not isinstance(call, cst.Call) or not call.args or not isinstance(call.func, cst.Attribute):
            continue
        name, first = call.func.attr.value, call.args[0].value
        if name in ("cat", "concat") and isinstance(first, cst.BinaryOperation) and code(first.right) == "2":
            return call
        if name in ("cat", "concat") and isinstance(first, cst.List) and _same_twice(first):
            return call
        if name == "chunk" and code(first) == "2" and len(call.args) == 1:
            return call
        if name == "repeat" and code(first) == "2":
            return call
        if name == "split" and any("// 2" in code(a.value) for a in call.args):
            return call
    return None


def _same_twice(node: cst.List) -> bool:
    return len(node.elements) == 2 and same(node.elements[0].value, node.elements[1].value)


def _guided(loop: DenoiseLoop) -> DenoiseLoop:
    guarded = loop.body[loop.branch]
    assert isinstance(guarded, cst.If) and loop.negative is not None
    after = suite(guarded.body)[loop.negative.index + 1 :]
    between = loop.body[loop.positive.index + 1 : loop.branch]
    scale = _scale(after, loop.positive.target, loop.negative.target) if len(after) == 1 else None
    if scale is not None and any(loop.positive.target in reads(s) for s in between):
        scale = None
    changes = {"guard": guarded.test, "combine": "own" if scale is None else "default", "scale": scale}
    return DenoiseLoop(**{**{n: getattr(loop, n) for n in loop.__dataclass_fields__}, **changes})


def _scale(block: Block, positive: str, negative: str) -> cst.BaseExpression | None:
    """``s`` of ``positive = negative + s * (positive - negative)``; None for every other statement."""
    node = block[0]
    if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Assign):
        return None
    assign = node.body[0]
    total = assign.value
    if target_names(assign.targets[0].target) != {positive} or len(assign.targets) != 1 or len(node.body) != 1:
        return None
    if not isinstance(total, cst.BinaryOperation) or not isinstance(total.operator, cst.Add):
        return None
    if dotted(total.left) != negative or not isinstance(total.right, cst.BinaryOperation):
        return None
    product = total.right
    if not isinstance(product.operator, cst.Multiply):
        return None
    for scale, difference in ((product.left, product.right), (product.right, product.left)):
        if isinstance(difference, cst.BinaryOperation) and isinstance(difference.operator, cst.Subtract):
            ends = (dotted(difference.left), dotted(difference.right))
            if ends == (positive, negative) and not {positive, negative} & set(reads(scale)):
                return scale
    return None


def _step(body: Block) -> int | None:
    """Index of ``x = self.scheduler.step(prediction, t, x, return_dict=False)[0]``."""
    found = None
    for index, node in enumerate(body):
        for call in calls(node, "self.scheduler.step"):
            if found is not None or not isinstance(node, cst.SimpleStatementLine):
                return None
            assign = node.body[0]
            if not isinstance(assign, cst.Assign) or len(call.args) != 4 or len(assign.targets) != 1:
                return None
            value = bare(assign.value)
            plain = [a.keyword is None and not a.star for a in call.args] == [True, True, True, False]
            last = call.args[3]
            keyword = last.keyword.value if last.keyword else ""
            if not (isinstance(value, cst.Subscript) and value.value is call and code(value.slice[0]).strip() == "0"):
                return None
            if not plain or (keyword, code(last.value)) != ("return_dict", "False"):
                return None
            if not same(assign.targets[0].target, call.args[2].value):
                return None
            found = index
    return found


def denoiser_attributes(nodes: list[cst.FunctionDef]) -> tuple[str, ...]:
    """Config values of the denoiser that the methods read, in order: ``self.transformer.config.X``."""
    found: dict[str, None] = {}
    for node in nodes:
        found.update(dict.fromkeys(attributes(node, f"{DENOISER}.config")))
    return tuple(found)


def denoiser_members(nodes: list[cst.FunctionDef]) -> tuple[str, ...]:
    """What the methods use of the denoiser besides calling it, its config values, dtype and device."""
    found: dict[str, None] = {}
    for node in nodes:
        found.update(dict.fromkeys(attributes(node, DENOISER)))
    return tuple(n for n in found if n not in ("config", "dtype", "device"))
