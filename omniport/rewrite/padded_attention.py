"""Attention among the tokens that a mask keeps, given to the layer as a mask over keys.

diffusers masks pairs of tokens (``keys & keys.transpose(2, 3)``, as HunyuanVideo 1.5's blocks do), so that a query
which is padding gets nothing: PyTorch's kernel gives zeros for a query whose keys are all masked. A mask over keys
says the same but for these queries: flash attention gives them zeros of itself, PyTorch's kernel does not. Later
blocks may read such tokens, so the layer of the port is :data:`CLASS`. The mask of pairs, which flash attention does
not take and which grows with the square of the tokens, is not made.
"""

from __future__ import annotations

#: The class in a port.
CLASS = "PaddedAttention"

HELPER = '''

class PaddedAttention({base}):
    """Attention among the tokens that a mask over keys keeps: the others get zeros, whatever the backend."""

    def _run_local_attention(self, query, key, value, attn_metadata):
        hidden_states = super()._run_local_attention(query, key, value, attn_metadata)
        if attn_metadata is not None and attn_metadata.attn_mask is not None:
            hidden_states = hidden_states * attn_metadata.attn_mask[:, :, None, None]
        return hidden_states
'''
