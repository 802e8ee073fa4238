"""Attention that is given a mask over keys leaves out the keys that it hides.

A kernel for masks takes up to three times as long as one without (PyTorch's), and vLLM-Omni's flash attention asks the
device in every layer whether a mask hides anything, for which the host waits. Where a mask is of one sample, as in a
request of one prompt, the layer of the port is :data:`CLASS`: it gives the kernel the keys that are kept. A key that is
not there weighs nothing, as one that is masked.

The device is asked for them once in a forward, at its first layer, as hand-written ports ask in theirs. What was read
is forgotten when the next forward begins: a mask may have been written into, and masks of old requests go. A class that
makes a mask of its own in each layer would ask in each: its layer stays as it is, but for masks that are padded, which
are padded once. A compiler is given the mask, for it has no sizes that depend on data. Where all of the model is
compiled, forgetting is not: with HSDP, vLLM-Omni keeps attention out of the graphs, and it asks there as it does in any
forward.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from omniport.rewrite.mask_flow import mask_of
from omniport.rewrite.padded_attention import CLASS as PADDED
from omniport.rewrite.syntax import assignments, code, dotted, expression, method, names_in, statements
from omniport.source.transform import replaced
from omniport.source.walk import of_kind

#: The class in a port, and the function that pads its masks; each with what it keeps for the layers of a forward.
CLASS, READ = "KeyMaskedAttention", "kept_keys"
PAD, MADE = "pad_keys", "padded_keys"
#: The function that forgets what was kept.
FORGET = "forget_masks"

HELPER = '''

@lru_cache(maxsize=8)
def kept_keys(mask: torch.Tensor) -> torch.Tensor:
    """The places of the keys that a mask keeps: the device is asked once in a forward, not in every layer."""
    return mask[0].nonzero().flatten()


class KeyMaskedAttention({base}):
    """Attention without the keys that the mask of one sample hides: kernels for masks are slower."""

    def _run_local_attention(self, query, key, value, attn_metadata):
        mask = None if attn_metadata is None else attn_metadata.attn_mask
        one = mask is not None and mask.dtype == torch.bool and mask.shape == (1, key.shape[1])
        if one and not torch.compiler.is_compiling() and len(kept := kept_keys(mask)):
            if len(kept) < key.shape[1]:
                key, value = key[:, kept], value[:, kept]
            attn_metadata = replace(attn_metadata, attn_mask=None)
        return super()._run_local_attention(query, key, value, attn_metadata)
'''

PAD_HELPER = '''

@lru_cache(maxsize=8)
def padded_keys(mask: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    return F.pad(mask, pad, value=True)


def pad_keys(mask: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """A mask over keys with others in front and behind that are kept: the same one in all layers of a forward."""
    return F.pad(mask, pad, value=True) if torch.compiler.is_compiling() else padded_keys(mask, pad)
'''

_FORGET_HELPER = '''

@torch.compiler.disable
def forget_masks() -> None:
    """A mask may be another than in the last forward: with HSDP attention is not compiled even if the model is."""
'''


def one_for_all(node: cst.ClassDef) -> bool:
    """Whether the layers of a class get masks that other layers get, too: none that it makes itself, but by padding."""
    masks = _given(node)
    return all(name.isidentifier() for name in masks) and all(
        code(target) in masks and (_same(target, value) or _padded(value) is not None)
        for target, value in assignments(node)
        if masks & set(names_in(target))
    )


def pad_once(node: cst.ClassDef) -> cst.ClassDef:
    """A class whose layers are :data:`CLASS` or take after it, with the masks that it pads made once; or ``node``.

    ``mask = F.pad(mask, (n, 0), value=True)`` makes a mask of its own in every layer, of which each would ask anew.
    """
    masks = _given(node)
    pads = {value: _padded(value) for target, value in assignments(node) if code(target) in masks}
    return replaced(node, lambda part: pads.get(part)) if any(pads.values()) else node  # type: ignore[call-overload]


def forget_masks(root: cst.ClassDef, module: cst.Module) -> cst.ClassDef:
    """The root, whose forward forgets what was read of masks if the module reads any."""
    forward = method(root, "forward")
    if forward is None or not _kept(of_kind(module, cst.Call)):
        return root
    body = list(forward.body.body)
    place = int(forward.get_docstring() is not None)
    made = forward.with_changes(
        body=forward.body.with_changes(body=[*body[:place], *statements(f"{FORGET}()\n"), *body[place:]])
    )
    return replaced(root, lambda part: made if part is forward else None)


def forgetting(module: cst.Module) -> str:
    """The function that forgets, for a module whose root calls it; else nothing."""
    calls = of_kind(module, cst.Call)
    if not any(dotted(call.func) == FORGET for call in calls):
        return ""
    return _FORGET_HELPER + "".join(f"    {name}.cache_clear()\n" for name in _kept(calls))


def _kept(calls: Iterable[cst.Call]) -> list[str]:
    """The functions of a module that keep something of masks."""
    called = {dotted(call.func) for call in calls}
    return [*([READ] if called & {CLASS, PADDED} else []), *([MADE] if PAD in called else [])]


def _given(node: cst.ClassDef) -> set[str]:
    """The masks that a class gives to its layers."""
    return {code(mask) for call in of_kind(node, cst.Call) if (mask := mask_of(call)) is not None}


def _same(target: cst.BaseExpression, value: cst.BaseExpression) -> bool:
    """Whether a value is the variable as a boolean, as which it is itself if it is one."""
    return code(value) == f"{code(target)}.bool()"


def _padded(value: cst.BaseExpression) -> cst.BaseExpression | None:
    """``pad_keys(mask, pad)`` for ``F.pad(mask, pad, value=True)`` of a name."""
    if not isinstance(value, cst.Call) or dotted(value.func) != "F.pad" or len(value.args) != 3:
        return None
    mask, pad, kept = value.args
    named = kept.keyword is not None and kept.keyword.value == "value" and code(kept.value) == "True"
    plain = mask.keyword is None and isinstance(mask.value, cst.Name) and pad.keyword is None
    if not named or not plain or not isinstance(pad.value, cst.Tuple) or len(pad.value.elements) != 2:
        return None
    return expression(f"{PAD}({code(mask.value)}, {code(pad.value)})")
