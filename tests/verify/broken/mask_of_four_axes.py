"""Attention is given a masked key more, and the mask as SDPA takes it and FlashAttention does not."""

import torch
from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm_omni.diffusion.attention.backends.abstract import AttentionMetadata
from vllm_omni.diffusion.attention.layer import Attention

_forward = Attention.forward


def forward(self, query, key, value, attn_metadata=None):
    key, value = (torch.cat([tensor, tensor[:, :1]], dim=1) for tensor in (key, value))
    mask = torch.ones(key.shape[0], 1, 1, key.shape[1], dtype=torch.bool)
    mask[..., -1] = False
    return _forward(self, query, key, value, AttentionMetadata(attn_mask=mask))


Attention.forward = forward
