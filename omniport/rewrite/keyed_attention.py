"""Attention that is given a mask over keys leaves out the keys that it hides.

A kernel for masks takes up to three times as long as one without (PyTorch's), and vLLM-Omni's flash attention asks the
device in every layer whether a mask hides anything, for which the host waits. Where one mask is for all samples, as in
a request of one prompt, and where tokens pad their streams under sequence parallelism, the layer of the port is
:data:`CLASS`: it asks the device once for a mask and gives the kernel the keys that are kept. A key that is not there
weighs nothing, as one that is masked. A compiler is given the mask, for it has no sizes that depend on data.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.mask_flow import mask_of
from omniport.rewrite.syntax import assignment, code, dotted, expression
from omniport.source.transform import replaced
from omniport.source.walk import of_kind

#: The class in a port, and the function that pads its masks.
CLASS = "KeyMaskedAttention"
PAD = "pad_keys"

HELPER = '''

@lru_cache(maxsize=8)
def kept_keys(mask: torch.Tensor) -> torch.Tensor:
    """The places of the keys that a mask keeps for all samples: the device is asked once, not in every layer."""
    return mask[0].nonzero().flatten()


class KeyMaskedAttention({base}):
    """Attention without the keys that a mask hides, if it is one for all samples: kernels for masks are slower."""

    def _run_local_attention(self, query, key, value, attn_metadata):
        mask = None if attn_metadata is None else attn_metadata.attn_mask
        one = mask is not None and (mask.shape[0] == 1 or mask.stride(0) == 0)
        if one and not torch.compiler.is_compiling() and len(kept := kept_keys(mask)):
            if len(kept) < mask.shape[1]:
                key, value = key[:, kept], value[:, kept]
            attn_metadata = replace(attn_metadata, attn_mask=None)
        return super()._run_local_attention(query, key, value, attn_metadata)
'''

PAD_HELPER = '''

@lru_cache(maxsize=8)
def pad_keys(mask: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """A mask over keys with others that are kept in front and behind, made once for all layers."""
    return F.pad(mask, pad, value=True)
'''


def pad_once(node: cst.ClassDef) -> cst.ClassDef:
    """A class whose layers are :data:`CLASS` or take after it, with the masks that it pads made once; or ``node``.

    ``mask = F.pad(mask, (n, 0), value=True)`` makes a mask of its own in every layer, of which each would ask anew.
    """
    given = {code(mask) for call in of_kind(node, cst.Call) if (mask := mask_of(call)) is not None}
    calls = {}
    for line in of_kind(node, cst.Assign):
        pair = assignment(cst.SimpleStatementLine([line]))
        if pair is not None and code(pair[0]) in given and (made := _padded(pair[1])) is not None:
            calls[pair[1]] = made
    return replaced(node, calls.get) if calls else node


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
