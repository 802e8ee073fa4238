"""Annotations that are in part a string, which only ``from __future__ import annotations`` lets stand."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import walk


def with_whole_annotations(function: cst.FunctionDef) -> cst.FunctionDef:
    """``"A" | B`` as ``"A | B"`` in the signature of ``function``."""
    return function.with_changes(params=transform(function.params, _Whole()))


class _Whole(cst.CSTTransformer):
    def leave_Annotation(self, original_node: cst.Annotation, updated_node: cst.Annotation) -> cst.Annotation:
        node = original_node.annotation
        literal = any(isinstance(n, cst.Subscript) for n in walk(node))  # Literal["a"] holds values
        strings = [n for n in walk(node) if isinstance(n, cst.SimpleString)]
        if not strings or literal or isinstance(node, cst.SimpleString):
            return updated_node
        text = code(node).strip()
        for part in strings:
            text = text.replace(part.value, str(part.evaluated_value))
        return updated_node.with_changes(annotation=cst.SimpleString(f'"{text}"'))
