"""Query and key that are rotated one after the other go through vLLM-Omni's kernel for both, where it takes them.

The kernel rounds as diffusers' ``apply_rotary_emb`` does (tables and products in float32, one rounding at the end), in
one launch in place of about fourteen.  A compiler fuses the plain operations itself, and does not see into a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from omniport.rewrite.syntax import assignment, code, dotted, statements
from omniport.source.transform import transform

FUNCTION = "apply_qk_rope"

HELPER = '''
def apply_qk_rope(
    query: torch.Tensor, key: torch.Tensor, rotary_emb: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate query and key ``[batch, tokens, heads, head_dim]`` by ``(cos, sin)``, in one kernel where possible."""
    if not torch.compiler.is_compiling() and fused_qk_rope_supported(query, key, *rotary_emb):
        return fused_qk_rope(query, key, *rotary_emb)
    return apply_rotary_emb(query, rotary_emb, sequence_dim=1), apply_rotary_emb(key, rotary_emb, sequence_dim=1)
'''

_ROTATE = "diffusers.models.embeddings.apply_rotary_emb"


def join_rotations(module: cst.Module, imported: Mapping[str, str]) -> cst.Module:
    """``module`` with each pair of rotations by the same tables as one call; the same object if there is none."""
    if imported.get("apply_rotary_emb") != _ROTATE:
        return module
    made = transform(module, _Join())
    assert isinstance(made, cst.Module)
    return made


class _Join(cst.CSTTransformer):
    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body: list[cst.BaseStatement] = []
        for line in updated_node.body:
            one, two = _rotation(body[-1]) if body else None, _rotation(line)
            if one is None or two is None or one[1] != two[1] or one[0] == two[0]:
                body.append(line)
                continue
            (joined,) = statements(f"{one[0]}, {two[0]} = {FUNCTION}({one[0]}, {two[0]}, {one[1]})")
            body[-1] = joined.with_changes(leading_lines=body[-1].leading_lines)  # type: ignore[attr-defined]
        return updated_node if len(body) == len(updated_node.body) else updated_node.with_changes(body=body)


def _rotation(line: cst.BaseStatement) -> tuple[str, str] | None:
    """Tensor and tables of a line ``x = apply_rotary_emb(x, tables, sequence_dim=1)``."""
    pair = assignment(line)
    if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(pair[1], cst.Call):
        return None
    call = pair[1]
    if dotted(call.func) != "apply_rotary_emb" or len(call.args) != 3:
        return None
    tensor, tables, dim = call.args
    plain = tensor.keyword is None and tables.keyword is None and isinstance(tables.value, cst.Name)
    tokens_first = dim.keyword is not None and dim.keyword.value == "sequence_dim" and code(dim.value) == "1"
    if not plain or not tokens_first or code(tensor.value) != pair[0].value:
        return None
    return pair[0].value, code(tables.value)
