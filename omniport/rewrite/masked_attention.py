"""Attention that is given a mask of any form, on a backend that takes one form alone.

vLLM-Omni's default backend on CUDA, flash attention, takes masks over keys: boolean, ``[batch, keys]``, True where a
key is kept.  It fails at others (additive ones, and those with axes for heads and queries), which diffusers' attention
functions take.  Masks that are seen to be over keys are given in that form (:mod:`omniport.rewrite.key_masks`); where a
mask is not, the layer of the port is :data:`CLASS`, as in vLLM-Omni's own port of LTX-2.
"""

from __future__ import annotations

#: The class in a port.
CLASS = "MaskedAttention"

HELPER = '''

class MaskedAttention({base}):
    """Attention whose masks flash attention does not take: PyTorch's kernel runs where one is given."""

    def _run_local_attention(self, query, key, value, attn_metadata):
        if attn_metadata is not None and attn_metadata.attn_mask is not None:
            return self.sdpa_fallback.forward(query, key, value, attn_metadata)
        return super()._run_local_attention(query, key, value, attn_metadata)
'''
