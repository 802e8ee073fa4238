"""Annotations that are in part a string, which only ``from __future__ import annotations`` lets stand, and such that
say another number of returned values than there are."""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.optional_types import with_optional_types
from omniport.rewrite.return_types import with_return_type
from omniport.source.syntax import code
from omniport.source.transform import transform
from omniport.source.walk import of_kind, walk


def with_whole_annotations(function: cst.FunctionDef) -> cst.FunctionDef:
    """``"A" | B`` as ``"A | B"`` in the signature of ``function``, and None among the types where it is the default;
    ``function`` returns as many values as it says."""
    function = function.with_changes(params=with_optional_types(transform(function.params, _Whole())))
    if function.returns is None or of_kind(function.body, cst.FunctionDef):
        return function
    return with_return_type(function, of_kind(function.body, cst.Return))


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
