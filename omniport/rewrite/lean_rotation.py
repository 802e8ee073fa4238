"""Rotary embeddings by functions of diffusers move half of the memory, with the same roundings.

Those functions cast query and key to float32, build a turned copy, and cast the sum back: up to ten kernels, most of
them in float32.  A product reads bfloat16 and float32 alike, and ``out=`` rounds as it writes, so each half of the
entries is two products and a sum.  vLLM-Omni's kernel for query and key (:mod:`omniport.rewrite.qk_rope`) is better
still where it takes them; a compiler fuses the plain operations itself.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from omniport.source.syntax import constant
from omniport.source.transform import transform
from omniport.source.walk import of_kind

_HEAD = """
def {name}(x: torch.Tensor, tables: tuple[torch.Tensor, torch.Tensor]{takes}) -> torch.Tensor:
    \"\"\"{what}, with {called}'s roundings.\"\"\"
    cos, sin = tables
    if torch.compiler.is_compiling() or cos.dtype != torch.float32 or cos.device != x.device{unless}:
        return {call}
"""
_BODY = """
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (one, two), (out_1, out_2), (cos_1, cos_2), (sin_1, sin_2) = ({part} for t in (x, out, cos, sin))
    torch.sub(one * cos_1, two * sin_1, out=out_1)
    torch.add(two * cos_2, one * sin_2, out=out_2)
    return out
"""
#: Tables ``[tokens, head_dim]`` for ``x`` with heads behind tokens (1), in front of them (2), or either.
_SPREAD = {
    frozenset({1}): "    cos, sin = cos[:, None], sin[:, None]",
    frozenset({2}): "",
    frozenset({1, 2}): "    if sequence_dim == 1:\n        cos, sin = cos[:, None], sin[:, None]",
}
_OF_HEADS = """
    cos, sin = cos.swapaxes(1, 2), sin.swapaxes(1, 2)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (one, two), (out_1, out_2) = (t.unflatten(2, (cos.shape[2], 2, -1)).unbind(-2) for t in (x, out))
    torch.addcmul(one * cos, two, sin, value=-1, out=out_1)
    torch.addcmul(two * cos, one, sin, out=out_2)
    return out
"""
_PAIRS, _HALVES = "t.unflatten(-1, (-1, 2)).unbind(-1)", "t.chunk(2, dim=-1)"


@dataclass(frozen=True)
class Lean:
    """A function of a port that stands in for one of diffusers: its name and its text."""

    name: str
    text: str


def _lean(name: str, what: str, called: str, call: str, body: str, takes: str = "", unless: str = "") -> Lean:
    head = _HEAD.format(name=name, what=what, called=called, call=call, takes=takes, unless=unless)
    return Lean(name, head + body.removeprefix("\n"))


@functools.cache
def _rows(axis: int, dims: frozenset[int]) -> Lean:
    """For ``diffusers.models.embeddings.apply_rotary_emb``, called with these values of ``sequence_dim``."""
    name, what, part = _BY_AXIS[axis]
    axes = f", use_real_unbind_dim={axis}" if axis != -1 else ""
    dim = "sequence_dim" if len(dims) == 2 else str(min(dims))
    call = f"apply_rotary_emb(x, tables{axes}{'' if dim == '2' else f', sequence_dim={dim}'})"
    takes = ", sequence_dim: int = 2" if len(dims) == 2 else ""
    return _lean(name, what, "apply_rotary_emb", call, _SPREAD[dims] + _BODY.format(part=part), takes)


def _wide(called: str) -> Lean:
    """For the functions of LTX-Video, with tables ``[batch, tokens, heads * head_dim]``."""
    body = _BODY.format(part=_PAIRS)
    return _lean("rotate_pairs", "``x`` with its pairs of entries turned", called, f"{called}(x, tables)", body)


_EMBEDDINGS = "diffusers.models.embeddings.apply_rotary_emb"
_BY_AXIS = {
    -1: ("rotate_pairs", "``x`` with its pairs of entries turned", _PAIRS),
    -2: ("rotate_halves", "``x`` with the halves of its entries turned", _HALVES),
}
#: Full name of a function -> what stands in for it.  These are functions of one model that ports import.
_OTHERS = {
    f"diffusers.models.transformers.{name}": made
    for name, made in {
        "transformer_ltx.apply_rotary_emb": _wide("apply_rotary_emb"),
        "transformer_ltx2.apply_interleaved_rotary_emb": _wide("apply_interleaved_rotary_emb"),
        "transformer_ltx2.apply_split_rotary_emb": _lean(
            "rotate_halves",
            "``x`` with the halves of each head turned by that head's tables",
            "apply_split_rotary_emb",
            "apply_split_rotary_emb(x, tables)",
            _OF_HEADS,
            unless=" or cos.ndim == x.ndim",
        ),
    }.items()
}


def lean_rotations(module: cst.Module, imported: Mapping[str, str]) -> tuple[cst.Module, str]:
    """``module`` with such calls as calls of leaner functions, and those functions' text.

    Without one the same object, and no text.  A call with an argument that no rule knows stays, and so do all where the
    module has a name of theirs already.

    Args:
        module: what is rewritten.
        imported: the full name of each imported name.
    """
    meant = {name: full for name, full in imported.items() if full == _EMBEDDINGS or full in _OTHERS}
    taken = {item.name.value for item in module.body if isinstance(item, cst.ClassDef | cst.FunctionDef)}
    if not meant or taken & {"rotate_pairs", "rotate_halves", *meant}:
        return module, ""
    dims: dict[int, set[int]] = {}
    for call in of_kind(module, cst.Call):
        if isinstance(call.func, cst.Name) and meant.get(call.func.value) == _EMBEDDINGS and (found := _settings(call)):
            dims.setdefault(found[0], set()).add(found[1])
    calls = _Calls(meant, {axis: frozenset(found) for axis, found in dims.items()})
    made = transform(module, calls)
    assert isinstance(made, cst.Module)
    return made, "\n".join(lean.text for lean in calls.used)


class _Calls(cst.CSTTransformer):
    def __init__(self, meant: Mapping[str, str], dims: Mapping[int, frozenset[int]]) -> None:
        self.meant, self.dims = meant, dims
        self.used: list[Lean] = []

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        full = self.meant.get(updated_node.func.value) if isinstance(updated_node.func, cst.Name) else None
        args = list(updated_node.args)
        if full is None or any(arg.star for arg in args):
            return updated_node
        lean = _OTHERS.get(full)
        if full == _EMBEDDINGS and (found := _settings(updated_node)):
            lean = _rows(found[0], self.dims[found[0]])
            either = len(self.dims[found[0]]) == 2
            args = [a for a in args if a.keyword is None or (either and a.keyword.value == "sequence_dim")]
            args[-1] = args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        if lean is None:
            return updated_node
        if lean not in self.used:
            self.used.append(lean)
        return updated_node.with_changes(func=cst.Name(lean.name), args=args)


def _settings(call: cst.Call) -> tuple[int, int] | None:
    """The axis whose two entries ``apply_rotary_emb`` turns, and that of the tokens; None if it does something else."""
    given = {arg.keyword.value: constant(arg.value) for arg in call.args if arg.keyword is not None}
    plain = len(call.args) - len(given) == 2 and given.pop("use_real", True) is True
    axis, dim = given.pop("use_real_unbind_dim", -1), given.pop("sequence_dim", 2)
    return (axis, dim) if plain and not given and axis in _BY_AXIS and dim in (1, 2) else None
