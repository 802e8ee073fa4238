"""FlashAttention for the CPU platform: vLLM-Omni's own handling of masks and padding around kernels in plain PyTorch.

Importing the module puts the kernels in; the platform names its backend only where ``FLASH_ATTN`` is asked for.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from vllm_omni.diffusion.attention.backends.flash_attn import FlashAttentionBackend, FlashAttentionImpl
from vllm_omni.diffusion.attention.backends.utils import fa

COUNTS: Counter[str] = Counter()
"""Calls of the kernels since the process began: ``dense``, and ``varlen`` of those with a mask."""


class CpuFlashImpl(FlashAttentionImpl):  # type: ignore[misc]
    """The path of CUDA: the stock implementation chooses by platform name and knows no CPU."""

    def forward(self, query: Any, key: Any, value: Any, attn_metadata: Any = None) -> Any:
        return self.forward_cuda(query, key, value, attn_metadata)


class CpuFlashBackend(FlashAttentionBackend):  # type: ignore[misc]
    """Backend that hands out :class:`CpuFlashImpl`."""

    @staticmethod
    def get_impl_cls() -> type[CpuFlashImpl]:
        return CpuFlashImpl


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    causal: bool = False,
    deterministic: bool = False,
) -> torch.Tensor:
    """Attention over ``[batch, tokens, heads, head_dim]``; ``deterministic`` changes nothing here.

    Raises:
        ValueError: what the kernels for GPUs do not take, either.
    """
    COUNTS["dense"] += 1
    _check(q, k, v)
    if q.shape[0] != k.shape[0]:
        raise ValueError(f"FlashAttention takes one batch: queries of {q.shape[0]}, keys of {k.shape[0]}")
    return _attention(q, k, v, softmax_scale, causal)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Attention over sequences packed to ``[tokens, heads, head_dim]``; each begins where the last one ends.

    Raises:
        ValueError: what the kernels for GPUs do not take, or read beyond the end of.
    """
    COUNTS["varlen"] += 1
    _check(q, k, v)
    starts_q, starts_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    if len(starts_q) != len(starts_k) or starts_q[-1] != len(q) or starts_k[-1] != len(k):
        raise ValueError(
            f"packed sequences end at {starts_q} and {starts_k}; there are {len(q)} queries and {len(k)} keys"
        )
    out = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    bounds = zip(starts_q, starts_q[1:], starts_k, starts_k[1:], strict=False)
    for first_q, last_q, first_k, last_k in bounds:
        if last_q - first_q > max_seqlen_q or last_k - first_k > max_seqlen_k:
            raise ValueError(f"a packed sequence is longer than {max_seqlen_q} queries or {max_seqlen_k} keys")
        part = (q[None, first_q:last_q], k[None, first_k:last_k], v[None, first_k:last_k])
        out[first_q:last_q] = _attention(*part, softmax_scale, causal)[0]
    return out


def _check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    if not q.ndim == k.ndim == v.ndim or k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"FlashAttention does not take the shapes {[*q.shape]}, {[*k.shape]}, {[*v.shape]}")
    if q.shape[-1] != k.shape[-1] or q.shape[-2] % k.shape[-2]:
        raise ValueError(f"FlashAttention does not take heads of {[*q.shape[-2:]]} with keys of {[*k.shape[-2:]]}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"FlashAttention takes one dtype, not {q.dtype}, {k.dtype}, {v.dtype}")


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, causal: bool) -> torch.Tensor:
    if not k.shape[1]:  # a kernel writes zeros where there is nothing to attend to
        return torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    repeats = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(repeats, dim=2), v.repeat_interleave(repeats, dim=2)
    mask = None
    if causal:  # the last query is the one that sees every key
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, scale=scale
    )
    return out.transpose(1, 2)


fa.flash_attn_func, fa.flash_attn_varlen_func, fa.HAS_FLASH_ATTN = flash_attn_func, flash_attn_varlen_func, True
