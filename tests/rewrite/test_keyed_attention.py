"""Keys that a mask hides are left out, and the device is asked once for a mask."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import libcst as cst
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from omniport.rewrite.keyed_attention import HELPER, PAD_HELPER, pad_once
from omniport.rewrite.padded_attention import HELPER as PADDED
from omniport.rewrite.sequence import MASKED_METADATA, SEQUENCE_METADATA


@dataclass
class Metadata:
    attn_mask: torch.Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Layer(nn.Module):
    """In the place of vLLM-Omni's: notes what its kernel is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[int, Metadata | None]] = []

    def _run_local_attention(self, query: Any, key: Any, value: Any, attn_metadata: Any) -> torch.Tensor:
        self.given.append((key.shape[1], attn_metadata))
        mask = None if attn_metadata is None else attn_metadata.attn_mask
        q, k, v = (t.transpose(1, 2) for t in (query, key, value))
        mask = None if mask is None else mask[:, None, None, :]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def names(text: str) -> dict[str, Any]:
    found = {"torch": torch, "F": F, "Layer": Layer, "replace": replace, "lru_cache": lru_cache}
    found |= {"AttentionMetadata": Metadata}
    exec(text, found)
    return found


MADE = HELPER.format(base="Layer")
BROKEN = MADE.replace("key[:, kept], value[:, kept]", "key[:, : len(kept)], value[:, : len(kept)]")


def tensors(batch: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(batch, 6, 2, 4, generator=torch.Generator().manual_seed(n)) for n in range(3))


MASK = torch.tensor([[True, False, True, True, False, True]])


@pytest.mark.parametrize("mask", [MASK, MASK.expand(2, -1)], ids=["one sample", "one for all"])
@pytest.mark.parametrize("text", [MADE, BROKEN], ids=["made", "broken"])
def test_hidden_keys_are_left_out(mask: torch.Tensor, text: str) -> None:
    layer, query = names(text)["KeyMaskedAttention"](), tensors(len(mask))
    got = layer._run_local_attention(*query, Metadata(mask, {"kept": 1}))
    expected = Layer()._run_local_attention(*query, Metadata(mask))
    ((keys, metadata),) = layer.given
    assert (keys, metadata) == (4, Metadata(None, {"kept": 1}))
    assert ((got - expected).abs().max() < 1e-6) == (text == MADE)


def test_a_mask_that_hides_nothing_is_dropped() -> None:
    layer, query = names(MADE)["KeyMaskedAttention"](), tensors(1)
    layer._run_local_attention(*query, Metadata(torch.ones(1, 6, dtype=torch.bool)))
    assert layer.given == [(6, Metadata(None))]


NOTHING = torch.zeros(1, 6, dtype=torch.bool)


@pytest.mark.parametrize("mask", [torch.cat([MASK, ~MASK]), NOTHING, None], ids=["two masks", "no key", "no mask"])
def test_other_masks_reach_the_kernel(mask: torch.Tensor | None) -> None:
    layer, query = names(MADE)["KeyMaskedAttention"](), tensors(2)
    metadata = Metadata(mask)
    layer._run_local_attention(*query, metadata)
    ((keys, given),) = layer.given
    assert keys == 6 and given is metadata


def test_no_metadata_is_none() -> None:
    layer = names(MADE)["KeyMaskedAttention"]()
    layer._run_local_attention(*tensors(1), None)
    assert layer.given == [(6, None)]


def test_a_compiler_is_given_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, metadata = names(MADE)["KeyMaskedAttention"](), Metadata(MASK)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    layer._run_local_attention(*tensors(1), metadata)
    assert layer.given == [(6, metadata)]


def test_the_device_is_asked_once_for_a_mask() -> None:
    made = names(MADE)
    layers, mask = [made["KeyMaskedAttention"]() for _ in range(5)], MASK.clone()
    for layer in layers:
        layer._run_local_attention(*tensors(1), Metadata(mask))
    assert made["kept_keys"].cache_info().misses == 1
    same = mask.clone()  # as large and with the same entries, but of another request
    same[0, 0] = False
    layers[0]._run_local_attention(*tensors(1), Metadata(same))
    assert made["kept_keys"].cache_info().misses == 2
    assert layers[0].given[-1][0] == 3


def test_padding_that_is_a_query_has_zeros() -> None:
    layer, query = names(MADE + PADDED.format(base="KeyMaskedAttention"))["PaddedAttention"](), tensors(1)
    got = layer._run_local_attention(*query, Metadata(MASK))
    expected = Layer()._run_local_attention(*query, Metadata(MASK))
    assert layer.given[0][0] == 4
    assert (got - expected)[MASK].abs().max() < 1e-6
    assert got[~MASK].abs().max() == 0


CLASS = """
class ToyAttention(nn.Module):
    def forward(self, query, key, value, attention_mask):
        {line}
        return self.attn(query, key, value, AttentionMetadata(attn_mask=attention_mask))
"""


def test_a_mask_is_padded_once() -> None:
    line = "attention_mask = F.pad(attention_mask, (key.shape[1] - attention_mask.shape[1], 0), value=True)"
    (node,) = cst.parse_module(CLASS.format(line=line)).body
    assert isinstance(node, cst.ClassDef)
    after = cst.Module([pad_once(node)]).code
    assert "attention_mask = pad_keys(attention_mask, (key.shape[1] - attention_mask.shape[1], 0))\n" in after
    pad = names(PAD_HELPER)["pad_keys"]
    assert torch.equal(pad(MASK, (2, 0)), F.pad(MASK, (2, 0), value=True))
    assert pad(MASK, (2, 0)) is pad(MASK, (2, 0))
    assert pad(MASK, (0, 2)) is not pad(MASK, (2, 0))


@pytest.mark.parametrize(
    "line",
    [
        "attention_mask = F.pad(attention_mask, (2, 0))",
        "attention_mask = F.pad(attention_mask, (2, 0), value=False)",
        "attention_mask = F.pad(attention_mask, (2, 0, 0, 1), value=True)",
        "attention_mask = F.pad(attention_mask.bool(), (2, 0), value=True)",
        "other = F.pad(attention_mask, (2, 0), value=True)",
        "attention_mask = G.pad(attention_mask, (2, 0), value=True)",
        "pass",
    ],
)
def test_other_padding_stays(line: str) -> None:
    (node,) = cst.parse_module(CLASS.format(line=line)).body
    assert isinstance(node, cst.ClassDef)
    assert pad_once(node) is node


@pytest.mark.parametrize("text", [SEQUENCE_METADATA, MASKED_METADATA])
def test_keys_that_pad_a_stream_are_left_out(text: str) -> None:
    made = names(MADE + text)
    lengths: dict[str, int] = {"image": 6, "text": 3}
    made["get_sequence_parallel_world_size"] = lambda: 2
    made["get_sp_shard_original_seq_len"] = lengths.get
    key = torch.zeros(2, 5, 1, 1)
    metadata = made["sequence_metadata"](key, "image", "text")
    expected = [True] * 5 + [True] * 3 + [True, False]  # of each rank: 3 of the image, 2 of the text
    assert metadata.attn_mask.tolist() == [expected] * 2
    assert metadata.attn_mask is made["sequence_metadata"](key, "image", "text").attn_mask  # so that keys are read once
    layer = made["KeyMaskedAttention"]()
    layer._run_local_attention(*(torch.randn(2, 10, 1, 4) for _ in range(3)), metadata)
    assert layer.given == [(9, Metadata(None))]
    lengths["text"] = 4
    assert made["sequence_metadata"](key, "image", "text") is None


def test_a_mask_is_kept_beside_padding() -> None:
    made = names(MASKED_METADATA)
    made["get_sequence_parallel_world_size"] = lambda: 2
    made["get_sp_shard_original_seq_len"] = {"text": 3}.get
    mask = torch.tensor([[True, False, True, True], [True, True, True, True]])
    metadata = made["sequence_metadata"](torch.zeros(2, 2, 1, 1), "text", mask=mask)
    assert metadata.attn_mask.tolist() == [[True, False, True, False], [True, True, True, False]]
    bias = torch.zeros(2, 1, 1, 4)
    metadata = made["sequence_metadata"](torch.zeros(2, 2, 1, 1), "text", mask=bias)
    assert metadata.attn_mask[:, 0, 0].tolist() == [[0, 0, 0, torch.finfo().min]] * 2
