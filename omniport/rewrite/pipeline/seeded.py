"""Seeds of the whole process, set for one call of a library that takes no generator, put back behind it."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, changed, indented, inner_blocks, parse, suite
from omniport.rewrite.pipeline.walk import calls
from omniport.source.walk import walk

SEED = "torch.manual_seed"
_SCOPE = "with torch.random.fork_rng(devices=[] if self.device.type == 'cpu' else [self.device]):\n    pass\n"


def with_seed_restored(function: cst.FunctionDef) -> cst.FunctionDef:
    """``function`` with every ``torch.manual_seed`` and the ``generate`` after it in ``torch.random.fork_rng``.

    The numbers that ``generate`` draws are the reference's; those of other requests of the worker are their own.
    """
    if not calls(function, SEED):
        return function
    return changed(function, body=indented(_block(suite(function.body)), function.body))


def _block(block: Block) -> Block:
    out: Block = []
    index = 0
    while index < len(block):
        node = block[index]
        last = _generation(block, index)
        if calls(node, SEED) and last is not None:
            scope = parse(_SCOPE.replace("'", '"'))[0]
            assert isinstance(scope, cst.With)
            inside = [node.with_changes(leading_lines=[]), *block[index + 1 : last + 1]]
            out.append(scope.with_changes(body=indented(inside), leading_lines=node.leading_lines))
            index = last + 1
            continue
        out.append(_inside(node))
        index += 1
    return out


def _generation(block: Block, start: int) -> int | None:
    """Index of the statement after ``start`` that generates; None if another one comes between."""
    place = start + 1
    if place < len(block) and any(
        isinstance(n, cst.Call) and isinstance(n.func, cst.Attribute) and n.func.attr.value == "generate"
        for n in walk(block[place])
    ):
        return place
    return None


def _inside(node: Statement) -> Statement:
    if isinstance(node, cst.For | cst.While | cst.With | cst.If) and inner_blocks(node) and calls(node, SEED):
        return changed(node, body=indented(_block(suite(node.body)), node.body))
    return node
