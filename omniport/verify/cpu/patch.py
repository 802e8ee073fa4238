"""Changes to vLLM that a verification on CPU needs.  Each says why; all are no-ops when applied twice."""

from __future__ import annotations

from typing import Any


def apply() -> None:
    """Apply every patch.  Called by the platform before a worker is built, in each worker process."""
    keep_linear_weights()
    ring_attention()
    plain_attention()


def keep_linear_weights() -> None:
    """Let vLLM's unquantised linear layers compute with ``F.linear`` and keep their weight.

    vLLM's CPU build packs the weight of each linear for oneDNN and leaves ``layer.weight`` empty.  Parameter counts,
    offloading and sharding would then be judged on empty tensors; and ``F.linear`` gives bit-equal results to the
    reference, where oneDNN's packed product differs in the last bits.
    """
    import torch.nn.functional as F
    from vllm.model_executor.layers import utils

    def dispatch(layer: Any, remove_weight: bool = False) -> None:
        layer.cpu_linear = lambda x, weight, bias: F.linear(x, weight, bias)

    utils.dispatch_cpu_unquantized_gemm = dispatch


def ring_attention() -> None:
    """Compute a step of ring attention, and the logarithm of the sum that the steps are joined by, in plain PyTorch.

    vLLM-Omni calls a kernel that exists for CUDA only; what goes round the ring and how it is joined stay its own.
    """
    import torch
    from vllm_omni.diffusion.attention.backends.ring import ring_kernels

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_bias: Any = None,
        compute_log_sumexp: bool = True,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> tuple[Any, Any]:
        if attn_bias is not None:
            raise NotImplementedError("ring attention on CPU takes no mask")
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:  # as the kernel counts: the first query sees the first key, whatever their numbers
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        return torch.softmax(scores, dim=-1) @ value, torch.logsumexp(scores, dim=-1)

    ring_kernels._scaled_dot_product_efficient_attention = attention


def plain_attention() -> None:
    """Let what a layer falls back to, PyTorch's own kernel, run on the CPU: it chooses by platform name, too."""
    from vllm_omni.diffusion.attention.backends.sdpa import SDPABackend

    from omniport.verify.cpu.attention import CpuSDPAImpl

    SDPABackend.get_impl_cls = staticmethod(lambda: CpuSDPAImpl)
