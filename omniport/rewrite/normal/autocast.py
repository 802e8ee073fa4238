"""``with torch.autocast(..., enabled=False)`` goes: vLLM-Omni runs transformers in one dtype, outside of autocast."""

from __future__ import annotations

import libcst as cst

from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_CONTEXTS = frozenset({"torch.autocast", "torch.amp.autocast", "torch.cuda.amp.autocast"})


def drop_disabled_autocast(node: cst.ClassDef) -> cst.ClassDef:
    """``node`` with the bodies of such blocks in their place; autocast that is enabled stays."""
    if not any(_disabled(part) for part in of_kind(node, cst.With)):
        return node
    new = transform(node, _Unwrap())
    assert isinstance(new, cst.ClassDef)
    return new


class _Unwrap(cst.CSTTransformer):
    def leave_With(
        self, original_node: cst.With, updated_node: cst.With
    ) -> cst.With | cst.FlattenSentinel[cst.BaseStatement]:
        if not _disabled(original_node) or not isinstance(updated_node.body, cst.IndentedBlock):
            return updated_node
        return cst.FlattenSentinel([s for s in updated_node.body.body if isinstance(s, cst.BaseStatement)])


def _disabled(node: cst.With) -> bool:
    call = node.items[0].item if len(node.items) == 1 and node.items[0].asname is None else None
    if not isinstance(call, cst.Call) or dotted(call.func) not in _CONTEXTS:
        return False
    return any(a.keyword and a.keyword.value == "enabled" and dotted(a.value) == "False" for a in call.args)
