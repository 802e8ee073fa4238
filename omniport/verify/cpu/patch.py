"""Changes to vLLM that a verification on CPU needs.  Each says why; all are no-ops when applied twice."""

from __future__ import annotations

from typing import Any


def apply() -> None:
    """Apply every patch.  Called by the platform before a worker is built, in each worker process."""
    keep_linear_weights()


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
