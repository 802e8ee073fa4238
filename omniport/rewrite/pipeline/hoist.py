"""A denoiser call that both branches of a condition begin with, once ahead of it."""

from __future__ import annotations

import ast

import libcst as cst

from omniport.rewrite.pipeline.blocks import (
    Block,
    Statement,
    bound,
    changed,
    indented,
    inner_blocks,
    pure,
    reads,
    suite,
)
from omniport.rewrite.pipeline.denoiser import denoiser_calls
from omniport.source.syntax import code


def hoisted(block: Block, denoisers: frozenset[str]) -> Block:
    """The block, and the blocks inside it, with such calls ahead of their condition."""
    out: Block = []
    for node in block:
        if not denoiser_calls(node, denoisers):
            out.append(node)
            continue
        if isinstance(node, cst.If) and (both := _ahead(node, denoisers)) is not None:
            out.append(both[0])
            node = both[1]
        out.append(_inside(node, denoisers))
    return out


def _ahead(node: cst.If, denoisers: frozenset[str]) -> tuple[Statement, cst.If] | None:
    """The common first statement and the condition without it."""
    if not isinstance(node.orelse, cst.Else) or not pure(node.test):
        return None
    body, other = suite(node.body), suite(node.orelse.body)
    first = body[0].with_changes(leading_lines=[])
    lines = isinstance(body[0], cst.SimpleStatementLine) and isinstance(other[0], cst.SimpleStatementLine)
    if not lines or not denoiser_calls(first, denoisers) or len(body) < 2 or len(other) < 2:
        return None
    if _tree(first) != _tree(other[0]) or bound([first]) & set(reads(node.test)):
        return None
    rest = cst.ensure_type(node.orelse, cst.Else).with_changes(body=indented(other[1:], node.orelse.body))
    left = node.with_changes(body=indented(body[1:], node.body), orelse=rest, leading_lines=[])
    return first.with_changes(leading_lines=node.leading_lines), left


def _tree(node: Statement) -> str:
    """A statement without its layout."""
    return ast.dump(ast.parse(code(node.with_changes(leading_lines=[]))))


def _inside(node: Statement, denoisers: frozenset[str]) -> Statement:
    if isinstance(node, cst.For | cst.While | cst.With | cst.If) and inner_blocks(node):
        return changed(node, body=indented(hoisted(suite(node.body), denoisers), node.body))
    return node
