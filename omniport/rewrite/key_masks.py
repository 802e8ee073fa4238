"""Masks over keys reach attention as every backend takes them: boolean, ``[batch, keys]``, True where a key is kept.

The masks are followed from the root's forward to the attention calls, and what gives them axes for heads and queries or
makes biases of them on their way goes (:mod:`omniport.rewrite.mask_forms`).  ``if mask.ndim == 2:`` holds: a port's
pipeline gives masks as its tokenizers do.

Keys that a mask hides are left out where all layers get the same one (:mod:`omniport.rewrite.keyed_attention`).

Masks over pairs of kept tokens are masks over keys, too, for a layer of their own
(:mod:`omniport.rewrite.padded_attention`).  A class whose masks are not all of one kind keeps them, and its layer
(:mod:`omniport.rewrite.masked_attention`): other masks over pairs of queries and keys, masks whose type or axes no line
shows, masks that something else reads as well.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import libcst as cst

from omniport.rewrite.dead import drop_dead_locals
from omniport.rewrite.keyed_attention import CLASS as KEYED
from omniport.rewrite.keyed_attention import one_for_all, pad_once
from omniport.rewrite.mask_flow import Edits, Masks, mask_of, remarks, speaks_of_masks
from omniport.rewrite.masked_attention import CLASS
from omniport.rewrite.padded_attention import CLASS as PADDED
from omniport.rewrite.syntax import code, dotted, statements
from omniport.source.transform import replaced
from omniport.source.walk import of_kind


def key_masks(module: cst.Module, root: str, layer: str, *, cross: bool) -> cst.Module:
    """``module`` with masks in the form of every backend where they are seen to be over keys; else the same object.

    Args:
        module: a port's transformer, whose attention layers with masks are of the class for any mask.
        root: its class that the pipeline calls.
        layer: the name that vLLM-Omni's layer has in the port.
        cross: whether flash attention of the target takes masks in cross attention.
    """
    classes = {item.name.value: item for item in module.body if isinstance(item, cst.ClassDef)}
    masked = sorted(name for name, node in classes.items() if any(map(mask_of, of_kind(node, cst.Call))))
    if not masked or root not in classes:
        return module
    masks = Masks({name: node for name, node in classes.items() if name == root or speaks_of_masks(node)}, root)
    good = {name: PADDED if masks.pairs(name) else layer for name in masked if masks.sound(name)}
    good = {name: made for name, made in good.items() if made == layer or _may_pad(classes[name])}
    if not good:
        return module
    edits = masks.edits(good)
    body = []
    for item in module.body:
        if isinstance(item, cst.ClassDef):
            if item.name.value in masks.forwards:
                item = _edited(item, masks.forwards[item.name.value], edits)
            if (made := good.get(item.name.value)) is not None:
                shared = one_for_all(item)
                made = KEYED if shared and made == layer else made
                plain = replaced(item, functools.partial(_plain, layer=made, cross=cross))
                item = pad_once(plain) if shared and plain is not item else plain
        body.append(item)
    return module.with_changes(body=body)


def _may_pad(node: cst.ClassDef) -> bool:
    """Whether the layers of a class can be those that give zeros to padding: queries are the keys, and not plain."""
    made = [call for call in of_kind(node, cst.Call) if dotted(call.func) == CLASS]
    return bool(made) and not any('role="cross"' in code(call) for call in made)


def _plain(node: cst.CSTNode, layer: str, cross: bool) -> cst.CSTNode | None:
    """``layer`` where one for any mask is made."""
    if not isinstance(node, cst.Call) or dotted(node.func) != CLASS or ('role="cross"' in code(node) and not cross):
        return None
    return node.with_changes(func=cst.Name(layer))


def _edited(node: cst.ClassDef, forward: cst.FunctionDef, edits: Edits) -> cst.ClassDef:
    lines = _lines(forward.body.body, edits)
    if len(lines) == len(forward.body.body) and all(map(operator.is_, lines, forward.body.body)):
        return node
    new = drop_dead_locals(forward, forward.with_changes(body=forward.body.with_changes(body=lines)))
    return replaced(node, lambda part: new if part is forward else None)


def _lines(body: Sequence[cst.CSTNode], edits: Edits) -> list[cst.CSTNode]:
    """Statements with what became of them."""
    made: list[cst.CSTNode] = []
    for line in body:
        if line in edits and not isinstance(line, cst.If):
            made += [new] if (new := edits[line]) is not None else []
        elif isinstance(line, cst.If):
            made += _branch(line, edits)
        elif isinstance(block := getattr(line, "body", None), cst.IndentedBlock):
            made.append(line.with_deep_changes(block, body=_lines(block.body, edits)))
        else:
            made.append(replaced(line, edits.get))
    return made


def _branch(line: cst.If, edits: Edits) -> list[cst.CSTNode]:
    """A condition without what no longer says anything; its lines alone if it always holds."""
    lines = _lines(line.body.body, edits)
    test = edits.get(line, line.test)
    orelse = line.orelse
    if isinstance(orelse, cst.If):
        orelse = next((item for item in _branch(orelse, edits) if isinstance(item, cst.If)), None)
    elif orelse is not None:
        orelse = orelse.with_changes(body=orelse.body.with_changes(body=_lines(orelse.body.body, edits)))
    if not lines and orelse is None:
        return []
    line = line.with_changes(leading_lines=remarks(line)) if line in edits else line
    if test is None:
        first = lines[0]
        assert isinstance(first, cst.SimpleStatementLine | cst.BaseCompoundStatement)
        return [first.with_changes(leading_lines=(*line.leading_lines, *first.leading_lines)), *lines[1:]]
    return [line.with_changes(test=test, body=line.body.with_changes(body=lines or statements("pass")), orelse=orelse)]
