"""A prediction of which only the tokens from some place on are used, cut where it is made.

Ranks exchange predictions of one shape.  Where one side of the guidance runs over prompt and picture tokens and the
other over the picture alone (Ideogram 4), the source cuts the longer one after the call; ``start`` says to
``predict_noise`` what it keeps, so that both sides have the picture's tokens only.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeGuard

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, bound, inner_blocks, reads, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, prediction
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import walk

START = "start"  # the argument of predict_noise that the port adds


def narrowed(function: cst.FunctionDef, denoisers: Denoisers) -> cst.FunctionDef:
    """``x = denoiser(...)[0]`` with the cut of ``y = x[:, n:]`` in it, where that is the only use of ``x``.

    Pipelines with one denoiser alone stay as they are: its two calls of a round see the same tokens of the picture.
    """
    if len(denoisers.attributes) < 2 or any(START in p for _, p in denoisers.parameters):
        return function
    names = denoisers.names(function)
    uses = Counter(n.value for n in walk(function.body) if isinstance(n, cst.Name))
    cuts: dict[cst.CSTNode, cst.BaseExpression] = {}
    for block in _blocks(suite(function.body)):
        for index, node in enumerate(block):
            made = prediction(index, node, names)
            if made is None or made.form != "first" or made.wrap != "_" or not isinstance(made.target, cst.Name):
                continue
            found = [n for later in block[index + 1 :] for n in walk(later) if _is_cut(n, made.name)]
            # The name is written once and read once, by the cut.
            if uses[made.name] != 2 or len(found) != 1:
                continue
            (cut,) = found
            if set(reads(*cut.slice)) & bound(block):
                continue
            assert isinstance(node, cst.SimpleStatementLine) and isinstance(node.body[0], cst.Assign)
            cuts[node.body[0].value] = cut.with_changes(value=node.body[0].value)
            cuts[cut] = cst.Name(made.name)
    return transform(function, _Replace(cuts)) if cuts else function


def start_of(wrap: str) -> tuple[str | None, str]:
    """``n`` of a ``wrap`` that begins with ``_[:, n:]``, and the wrap without it."""
    tree = cst.parse_expression(wrap)
    for node in walk(tree):
        if _is_cut(node, "_"):
            part = node.slice[1].slice
            assert isinstance(part, cst.Slice) and part.lower is not None
            return code(part.lower), code(transform(tree, _Replace({node: cst.Name("_")})))
    return None, wrap


def _blocks(block: Block) -> list[Block]:
    found = [block]
    for node in block:
        for part in inner_blocks(node):
            found += _blocks(suite(part))
    return found


def _is_cut(node: cst.CSTNode, name: str) -> TypeGuard[cst.Subscript]:
    """``name[:, n:]``."""
    if not isinstance(node, cst.Subscript) or not isinstance(node.value, cst.Name) or node.value.value != name:
        return False
    if len(node.slice) != 2 or not all(isinstance(e.slice, cst.Slice) for e in node.slice):
        return False
    first, second = (e.slice for e in node.slice)
    assert isinstance(first, cst.Slice) and isinstance(second, cst.Slice)
    whole = first.lower is None and first.upper is None and first.step is None
    return whole and second.lower is not None and second.upper is None and second.step is None


class _Replace(cst.CSTTransformer):
    def __init__(self, new: dict[cst.CSTNode, cst.BaseExpression]) -> None:
        self.new = new

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        return self.new.get(original_node, updated_node)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        return self.new.get(original_node, updated_node)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return self.new.get(original_node, updated_node)
