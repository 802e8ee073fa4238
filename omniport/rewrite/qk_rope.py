"""Query and key that are rotated one after the other go through vLLM-Omni's kernel for both, where it takes them.

The kernel rounds as diffusers' functions do (tables and products in float32, one rounding at the end), in one launch in
place of about fourteen.  A compiler fuses the plain operations itself, and does not see into a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.rotation import rotates_pairs
from omniport.rewrite.syntax import assignment, code, dotted, statements, variables
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

PAIRS = '''
def apply_qk_rope(
    query: torch.Tensor, key: torch.Tensor, freqs_cos: torch.Tensor, freqs_sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate query and key ``[batch, tokens, heads, head_dim]``, in one kernel where possible."""
    if not torch.compiler.is_compiling() and freqs_cos.ndim == 4 and freqs_cos.shape[0] == freqs_cos.shape[2] == 1:
        cos = freqs_cos[0, :, 0, 0::2].repeat_interleave(2, dim=-1)
        sin = freqs_sin[0, :, 0, 1::2].repeat_interleave(2, dim=-1)
        if fused_qk_rope_supported(query, key, cos, sin):
            return fused_qk_rope(query, key, cos, sin)
    return {rotate}(query, freqs_cos, freqs_sin), {rotate}(key, freqs_cos, freqs_sin)
'''

COMPLEX = '''
def apply_qk_rope(
    query: torch.Tensor, key: torch.Tensor, freqs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate query and key ``[batch, tokens, heads, head_dim]`` by ``[tokens, head_dim / 2]``, in one kernel where
    possible; compilers do not fuse complex products."""
    if freqs.is_complex():
        cos, sin = (part.repeat_interleave(2, dim=-1) for part in torch.view_as_real(freqs).unbind(-1))
        if torch.compiler.is_compiling():
            query = apply_rotary_emb(query, (cos, sin), sequence_dim=1)
            return query, apply_rotary_emb(key, (cos, sin), sequence_dim=1)
        if fused_qk_rope_supported(query, key, cos, sin):
            return fused_qk_rope(query, key, cos, sin)
    rotate = {table}.get(query.device.type, {table}["cuda"])
    return rotate(query, freqs), rotate(key, freqs)
'''

_ROTATE = "diffusers.models.embeddings.apply_rotary_emb"

#: Tables of functions by kind of device, whose ``"cuda"`` multiplies pairs of entries by a complex table.
_BY_DEVICE = frozenset({"diffusers.models.transformers.transformer_qwenimage.ROPE_PER_DEVICE"})


@dataclass(frozen=True)
class _Kind:
    """How one kind of rotation is written: what it calls, and what the tables of such a call are, None if no match."""

    helper: str
    called: frozenset[str]
    tables: Callable[[list[cst.Arg]], str | None]


def join_rotations(module: cst.Module, imported: Mapping[str, str]) -> tuple[cst.Module, str]:
    """``module`` with each pair of rotations by the same tables as one call, and the function that it calls.

    Without such a pair the same object, and no function.  A module's pairs are of one kind.
    """
    for kind in _kinds(module, imported):
        made = transform(module, _Join(kind))
        if made is not module:
            assert isinstance(made, cst.Module)
            return made, kind.helper
    return module, ""


def _kinds(module: cst.Module, imported: Mapping[str, str]) -> list[_Kind]:
    """The kinds of rotation that a module may have."""
    kinds = []
    if imported.get("apply_rotary_emb") == _ROTATE:
        kinds.append(_Kind(HELPER, frozenset({"apply_rotary_emb"}), _diffusers))
    own = [item for item in module.body if isinstance(item, cst.FunctionDef) and len(item.params.params) == 3]
    for function in own:
        if rotates_pairs(code(function.with_changes(leading_lines=[]))):
            name = function.name.value
            kinds.append(_Kind(PAIRS.format(rotate=name), frozenset({name}), _spread))
    free = imported.get("apply_rotary_emb", _ROTATE) == _ROTATE and not _defines(module, "apply_rotary_emb")
    for name, meant in imported.items():
        if meant in _BY_DEVICE and free:
            kinds.append(_Kind(COMPLEX.format(table=name), frozenset({f"{name}.get"}), _one))
    return kinds


def _defines(module: cst.Module, name: str) -> bool:
    return any(isinstance(item, (cst.FunctionDef, cst.ClassDef)) and item.name.value == name for item in module.body)


def _diffusers(args: list[cst.Arg]) -> str | None:
    """``tables`` of ``(tables, sequence_dim=1)``."""
    if len(args) != 2 or args[0].keyword is not None or not isinstance(args[0].value, cst.Name) or args[0].star:
        return None
    dim = args[1]
    tokens_first = dim.keyword is not None and dim.keyword.value == "sequence_dim" and code(dim.value) == "1"
    return code(args[0].value) if tokens_first else None


def _spread(args: list[cst.Arg]) -> str | None:
    """``*tables`` of ``(*tables)``, ``cos, sin`` of ``(cos, sin)``."""
    if any(arg.keyword is not None or not isinstance(arg.value, cst.Name) for arg in args):
        return None
    stars = [arg.star for arg in args]
    if stars not in (["*"], ["", ""]):
        return None
    return ", ".join(arg.star + code(arg.value) for arg in args)


def _one(args: list[cst.Arg]) -> str | None:
    """``tables`` of ``(tables)``."""
    plain = len(args) == 1 and args[0].keyword is None and not args[0].star and isinstance(args[0].value, cst.Name)
    return code(args[0].value) if plain else None


class _Join(cst.CSTTransformer):
    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.chosen: dict[str, cst.BaseStatement] = {}  # locals that hold the function, each with its line

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.chosen = {}
        for line in node.body.body:
            pair = assignment(line)
            if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(pair[1], cst.Call):
                continue
            if dotted(pair[1].func).endswith(".get") and dotted(pair[1].func) in self.kind.called:
                self.chosen[pair[0].value] = line  # type: ignore[assignment]

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body: list[cst.BaseStatement] = []
        for line in updated_node.body:
            one, two = self._rotation(body[-1]) if body else None, self._rotation(line)
            if one is None or two is None or one[1:] != two[1:] or one[0] == two[0]:
                body.append(line)
                continue
            (joined,) = statements(f"{one[0]}, {two[0]} = {FUNCTION}({one[0]}, {two[0]}, {one[1]})")
            body[-1] = joined.with_changes(leading_lines=body[-1].leading_lines)  # type: ignore[attr-defined]
        return updated_node if len(body) == len(updated_node.body) else updated_node.with_changes(body=body)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        """Without the line that chose the function, if nothing reads it any more."""
        if updated_node is original_node or not self.chosen:
            return updated_node
        read = list(variables(updated_node.body))
        gone = [line for name, line in self.chosen.items() if read.count(name) == 1]
        kept = [line for line in updated_node.body.body if line not in gone]
        return updated_node.with_changes(body=updated_node.body.with_changes(body=kept))

    def _rotation(self, line: cst.BaseStatement) -> tuple[str, str, str] | None:
        """Tensor, tables and function of a line ``x = rotate(x, tables)``."""
        pair = assignment(line)
        if pair is None or not isinstance(pair[0], cst.Name) or not isinstance(pair[1], cst.Call):
            return None
        call, name = pair[1], dotted(pair[1].func)
        if (name not in self.kind.called and name not in self.chosen) or len(call.args) < 2:
            return None
        tensor, *rest = call.args
        if tensor.keyword is not None or tensor.star or code(tensor.value) != pair[0].value:
            return None
        tables = self.kind.tables(rest)
        return None if tables is None else (pair[0].value, tables, name)
