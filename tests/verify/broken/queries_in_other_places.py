"""The mask is over keys, but masks the place of a query that counts: FlashAttention leaves that query out."""

import torch
from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm_omni.diffusion.attention.backends.abstract import AttentionMetadata
from vllm_omni.diffusion.attention.layer import Attention

_forward = Attention.forward


def forward(self, query, key, value, attn_metadata=None):
    query = torch.cat([query, query[:, :1]], dim=1)
    key, value = (torch.cat([tensor[:, :1], tensor], dim=1) for tensor in (key, value))
    mask = torch.ones(key.shape[:2], dtype=torch.bool)
    mask[:, 0] = False
    return _forward(self, query, key, value, AttentionMetadata(attn_mask=mask))[:, :-1]


Attention.forward = forward
