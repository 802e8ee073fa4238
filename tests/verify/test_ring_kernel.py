"""One step of ring attention on CPU: PyTorch's own attention, in causal order too, and the logarithm of its sum."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm_omni")

from omniport.verify.cpu import patch  # noqa: E402

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keys", [5, 8])
def test_a_step_is_plain_attention(causal: bool, keys: int) -> None:
    from vllm_omni.diffusion.attention.backends.ring import ring_kernels

    patch.ring_attention()
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 3, 4, generator=generator) for n in (5, keys, keys))
    out, _ = ring_kernels.pytorch_attn_forward(q, k, v, causal=causal)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(t.transpose(1, 2) for t in (q, k, v)), is_causal=causal
    ).transpose(1, 2)
    assert torch.allclose(out, expected, atol=1e-6)


def test_steps_join_to_the_whole_in_causal_order() -> None:
    """The second of two ranks: its own keys in causal order, then those before them, joined by their sums."""
    from vllm_omni.diffusion.attention.backends.ring import ring_kernels
    from vllm_omni.diffusion.attention.backends.ring.ring_utils import update_out_and_lse

    patch.ring_attention()
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 8, 2, 4, generator=generator) for _ in range(3))
    out, lse = None, None
    for part, causal in ((slice(4, 8), True), (slice(0, 4), False)):
        step = ring_kernels.pytorch_attn_forward(q[:, 4:], k[:, part], v[:, part], causal=causal)
        out, lse = update_out_and_lse(out, lse, *step, lse_layout="bhs")
    whole = torch.nn.functional.scaled_dot_product_attention(
        *(t.transpose(1, 2) for t in (q, k, v)), is_causal=True
    ).transpose(1, 2)
    assert torch.allclose(out, whole[:, 4:], atol=1e-6)
    assert not torch.allclose(out, whole[:, :4], atol=1e-2)


def test_a_mask_is_refused() -> None:
    from vllm_omni.diffusion.attention.backends.ring import ring_kernels

    patch.ring_attention()
    x = torch.ones(1, 1, 2, 2)
    with pytest.raises(NotImplementedError, match="takes no mask"):
        ring_kernels._scaled_dot_product_efficient_attention(x, x, x, attn_bias=x)
