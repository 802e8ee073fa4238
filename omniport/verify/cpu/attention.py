"""SDPA for the CPU platform: the stock implementation chooses by platform name and knows no CPU."""

from __future__ import annotations

from typing import Any

from vllm_omni.diffusion.attention.backends.sdpa import SDPABackend, SDPAImpl


class CpuSDPAImpl(SDPAImpl):  # type: ignore[misc]
    """Runs PyTorch's scaled dot product attention on tensors ``[batch, tokens, heads, head_dim]``."""

    def forward(self, query: Any, key: Any, value: Any, attn_metadata: Any = None) -> Any:
        if query.shape[2] != key.shape[2]:
            # The stock path expands grouped heads itself where no kernel takes them, and logs it: compilation stops
            # there, which says nothing of the port.
            repeats = query.shape[2] // key.shape[2]
            key, value = key.repeat_interleave(repeats, dim=2), value.repeat_interleave(repeats, dim=2)
        # "broadcast_k" is the mask layout of the CUDA path: padding masks are [batch, 1, 1, key tokens].
        return self._forward_impl(query, key, value, attn_metadata, mask_mode="broadcast_k")


class CpuSDPABackend(SDPABackend):  # type: ignore[misc]
    """Backend that hands out :class:`CpuSDPAImpl`."""

    @staticmethod
    def get_impl_cls() -> type[CpuSDPAImpl]:
        return CpuSDPAImpl
