"""Proves ``flash`` of small models in a process of its own, started by test_flash; one JSON line for each to stdout."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

HEADS, SIZE, BATCH = 4, 8, 2
KEPT = torch.tensor([[1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
NONE_KEPT = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 1]], dtype=torch.bool)


class Model(nn.Module):
    """One attention layer of vLLM-Omni; ``form`` makes its mask of the one over keys."""

    def __init__(self, form: Any = None, **layer: Any) -> None:
        from vllm_omni.diffusion.attention.layer import Attention

        super().__init__()
        sdpa = layer.pop("sdpa", False)
        options = {"num_heads": HEADS, "head_size": SIZE, "causal": False, "softmax_scale": SIZE**-0.5, **layer}
        self.attn = Attention(**options)
        self.form = form
        if sdpa:
            self.attn.attention = self.attn.sdpa_fallback

    def forward(self, query: Any, key: Any, value: Any, mask: Any, return_dict: bool = False) -> tuple[Any]:
        from vllm_omni.diffusion.attention.backends.abstract import AttentionMetadata

        given = AttentionMetadata(attn_mask=self.form(mask)) if self.form is not None else None
        return (self.attn(query, key, value, given),)


def plain(query: Any, key: Any, value: Any, mask: Any, zeroed: bool, causal: bool) -> Any:
    """What attention is to give; ``zeroed``: of masked queries zeros, which nothing reads in a model."""
    groups = query.shape[2] // key.shape[2]
    key, value = (tensor.repeat_interleave(groups, dim=2) for tensor in (key, value))
    keep = mask[:, None, None, :] if mask is not None else None
    if causal:
        keep = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril(key.shape[1] - query.shape[1])
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=keep
    ).transpose(1, 2)
    return out * mask[:, :, None, None] if zeroed else out


def wrong(mask: torch.Tensor) -> torch.Tensor:
    return mask.roll(1, dims=1)


CASES: dict[str, dict[str, Any]] = {
    "no mask": {},
    "no mask, fewer queries than keys": {"queries": 3},
    "grouped keys": {"layer": {"num_kv_heads": 2}},
    "grouped keys, masked": {"layer": {"num_kv_heads": 2}, "form": lambda mask: mask, "zeroed": True},
    "causal": {"layer": {"causal": True}, "causal": True},
    "causal, fewer queries than keys": {"layer": {"causal": True}, "causal": True, "queries": 3},
    "over keys": {"form": lambda mask: mask, "zeroed": True},
    "nothing kept of one sample": {"form": lambda mask: mask, "zeroed": True, "mask": NONE_KEPT, "nan": True},
    "over keys, fewer queries than keys": {"form": lambda mask: mask, "queries": 3},
    "cross, as many queries as keys": {"form": lambda mask: mask, "layer": {"role": "cross"}},
    "self, as many queries as keys, of which all count": {"form": lambda mask: mask},
    "wrong": {"form": wrong, "layer": {"role": "cross"}},
    "four axes": {"form": lambda mask: mask[:, None, None, :], "layer": {"role": "cross"}},
    "added": {"form": lambda mask: (~mask).float() * -10000.0, "layer": {"role": "cross"}},
    "four axes, SDPA": {"form": lambda mask: mask[:, None, None, :], "layer": {"sdpa": True}},
    "keys of another batch": {"layer": {}, "one": True},
    "keys of another dtype": {"layer": {}, "dtype": True},
}


def prove(case: dict[str, Any], config: Any) -> dict[str, Any]:
    """The proof of one case."""
    from omniport.verify.proofs import Subject
    from omniport.verify.proofs.flash import prove

    layer = case.get("layer", {})
    random = torch.Generator().manual_seed(0)
    kv_heads = layer.get("num_kv_heads", HEADS)
    query = torch.randn(BATCH, case.get("queries", 6), HEADS, SIZE, generator=random)
    key, value = (torch.randn(BATCH, 6, kv_heads, SIZE, generator=random) for _ in range(2))
    mask = case.get("mask", KEPT)
    used = mask if case.get("form") else None
    expected = plain(query, key, value, used, case.get("zeroed", False), case.get("causal", False))
    if case.get("one"):
        key, value = key[:1], value[:1]
        expected = plain(query, key.expand(BATCH, -1, -1, -1), value.expand(BATCH, -1, -1, -1), None, False, False)
    if case.get("dtype"):
        value = value.double()
    if case.get("nan"):
        expected = expected.nan_to_num()
    calls = {"call": {"query": query, "key": key, "value": value, "mask": mask}}
    subject = Subject(lambda _: Model(case.get("form"), **layer), {}, calls, config, lambda _: [expected])
    proof = prove(subject)
    return {"figure": proof.figure, "problems": proof.problems, "detail": proof.detail}


def main() -> None:
    """Every case, or those that are named."""
    import vllm_omni.diffusion.data  # noqa: F401
    from vllm_omni.diffusion.config import set_current_diffusion_config

    from omniport.verify.cpu import patch

    patch.apply()
    parallel = SimpleNamespace(ring_degree=1, allgather_degree=1, ulysses_degree=1, sequence_parallel_size=1)
    config = SimpleNamespace(diffusion_attention_config=None, parallel_config=parallel, model_class_name=None)
    with set_current_diffusion_config(config):
        for name in sys.argv[1:] or CASES:
            sys.stdout.write(json.dumps({"case": name, **prove(CASES[name], config)}) + "\n")


if __name__ == "__main__":
    main()
