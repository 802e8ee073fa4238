"""Keys that a mask hides are left out, and the device is asked once for a mask in a forward."""

from __future__ import annotations

import warnings
import weakref
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import libcst as cst
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounter

from omniport.rewrite.keyed_attention import HELPER, PAD_HELPER, forget_masks, forgetting, one_for_all, pad_once
from omniport.rewrite.padded_attention import HELPER as PADDED


@dataclass
class Metadata:
    attn_mask: torch.Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Plain(nn.Module):
    """In the place of vLLM-Omni's layer."""

    def _run_local_attention(self, query: Any, key: Any, value: Any, attn_metadata: Any) -> torch.Tensor:
        mask = None if attn_metadata is None else attn_metadata.attn_mask
        q, k, v = (t.transpose(1, 2) for t in (query, key, value))
        mask = mask[:, None, None, :] if mask is not None and mask.ndim == 2 else mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


class Layer(Plain):
    """Notes what its kernel is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[int, Metadata | None]] = []

    def _run_local_attention(self, query: Any, key: Any, value: Any, attn_metadata: Any) -> torch.Tensor:
        self.given.append((key.shape[1], attn_metadata))
        return super()._run_local_attention(query, key, value, attn_metadata)


def names(text: str) -> dict[str, Any]:
    found = {"torch": torch, "F": F, "Layer": Layer, "Plain": Plain, "replace": replace, "lru_cache": lru_cache}
    found |= {"AttentionMetadata": Metadata, "nn": nn}
    exec(text, found)
    return found


MADE = HELPER.format(base="Layer")
BROKEN = MADE.replace("key[:, kept], value[:, kept]", "key[:, : len(kept)], value[:, : len(kept)]")


def tensors(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q, k, v = (torch.randn(batch, 6, 2, 4, generator=torch.Generator().manual_seed(n)) for n in range(3))
    return q, k, v


MASK = torch.tensor([[True, False, True, True, False, True]])


@pytest.mark.parametrize("text", [MADE, BROKEN], ids=["made", "broken"])
def test_hidden_keys_are_left_out(text: str) -> None:
    layer = names(text)["KeyMaskedAttention"]()
    got = layer._run_local_attention(*tensors(), Metadata(MASK, {"kept": 1}))
    expected = Layer()._run_local_attention(*tensors(), Metadata(MASK))
    ((keys, metadata),) = layer.given
    assert (keys, metadata) == (4, Metadata(None, {"kept": 1}))
    assert ((got - expected).abs().max() < 1e-6) == (text == MADE)


def test_a_mask_that_hides_nothing_is_dropped() -> None:
    layer = names(MADE)["KeyMaskedAttention"]()
    layer._run_local_attention(*tensors(), Metadata(torch.ones(1, 6, dtype=torch.bool)))
    assert layer.given == [(6, Metadata(None))]


OTHERS = {
    "two samples": torch.cat([MASK, ~MASK]),
    "no key": torch.zeros(1, 6, dtype=torch.bool),
    "no mask": None,
    "a bias": torch.zeros(1, 6).masked_fill(~MASK, -10000.0),
    "four axes": MASK[:, None, None, :],
    "every query": torch.ones(6, 6, dtype=torch.bool)[None, None],
}


@pytest.mark.parametrize("mask", OTHERS.values(), ids=OTHERS)
def test_other_masks_reach_the_kernel(mask: torch.Tensor | None) -> None:
    layer, metadata = names(MADE)["KeyMaskedAttention"](), Metadata(mask)
    layer._run_local_attention(*tensors(2 if mask is not None and len(mask) == 2 else 1), metadata)
    ((keys, given),) = layer.given
    assert keys == 6 and given is metadata


def test_no_metadata_is_none() -> None:
    layer = names(MADE)["KeyMaskedAttention"]()
    layer._run_local_attention(*tensors(), None)
    assert layer.given == [(6, None)]


def test_a_compiler_is_given_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    made, metadata = names(MADE + PAD_HELPER), Metadata(MASK)
    layer = made["KeyMaskedAttention"]()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    layer._run_local_attention(*tensors(), metadata)
    assert layer.given == [(6, metadata)]
    assert torch.equal(made["pad_keys"](MASK, (2, 0)), F.pad(MASK, (2, 0), value=True))
    assert made["padded_keys"].cache_info().misses == 0  # a compiler would warn of it


def compiled(text: str) -> tuple[torch.Tensor, list[str]]:
    """What a compiled block gives, whole in one graph, and what the compiler warned of."""
    made = names(text)
    layer = made["KeyMaskedAttention"]()

    def block(query: Any, key: Any, value: Any, mask: torch.Tensor) -> torch.Tensor:
        mask = made["pad_keys"](mask, (2, 0))
        return layer._run_local_attention(query, key, value, Metadata(mask))

    torch.compiler.reset()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        out = torch.compile(block, backend="eager", fullgraph=True)(*tensors(), MASK[:, 2:])
    return out, [str(w.message) for w in seen if "lru_cache" in str(w.message)]


def test_a_block_is_compiled_whole_and_without_a_warning() -> None:
    out, warned = compiled(HELPER.format(base="Plain") + PAD_HELPER)
    padded = F.pad(MASK[:, 2:], (2, 0), value=True)
    expected = Layer()._run_local_attention(*tensors(), Metadata(padded))
    assert (out - expected).abs().max() < 1e-6
    assert warned == []
    broken = PAD_HELPER.replace("F.pad(mask, pad, value=True) if torch.compiler.is_compiling() else ", "")
    assert broken != PAD_HELPER
    assert compiled(HELPER.format(base="Plain") + broken)[1] != []


ROOT = """
class ToyModel(nn.Module):
    def forward(self, query, key, value, mask):
        \"\"\"Of a model.\"\"\"
        # 1. blocks
        for layer in self.layers:
            kept = pad_keys(mask, (0, 0)) if self.pads else mask
            query = query + layer._run_local_attention(query, key, value, AttentionMetadata(attn_mask=kept))
        return query


class ToyBlock(nn.Module):
    def __init__(self):
        self.attn = KeyMaskedAttention(num_heads=2)
"""


def written(text: str, *, forgets: bool = True, folds: bool = False) -> tuple[str, dict[str, Any]]:
    """The function that forgets, and the names of a model as it is written.

    One that ``folds`` asks in its forward whether it is compiled before it forgets.
    """
    module = cst.parse_module(text)
    root, *others = module.body
    assert isinstance(root, cst.ClassDef)
    made = cst.Module([forget_masks(root, module) if forgets else root, *others])
    helper = forgetting(made)
    asking = "if not torch.compiler.is_compiling():\n            kept_keys.cache_clear()\n"
    code = made.code.replace("forget_masks()\n", asking) if folds else made.code
    return helper, names(MADE + PAD_HELPER + helper + code)


def model(
    text: str = ROOT, *, forgets: bool = True, pads: bool = False, folds: bool = False
) -> tuple[Any, dict[str, Any]]:
    helper, made = written(text, forgets=forgets, folds=folds)
    assert (helper != "") == forgets
    toy = made["ToyModel"]()
    toy.layers, toy.pads = [made["KeyMaskedAttention"]() for _ in range(5)], pads
    return toy, made


@pytest.mark.parametrize("pads", [False, True])
@torch.inference_mode()
def test_the_device_is_asked_once_in_a_forward(pads: bool) -> None:
    toy, made = model(pads=pads)
    for _ in range(3):
        toy(*tensors(), MASK)
        assert made["kept_keys"].cache_info()[:2] == (4, 1)  # of five layers four have it from the first


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("forgets", [True, False], ids=["made", "broken"])
@torch.inference_mode()
def test_a_mask_that_is_written_into_is_read_anew(forgets: bool, pads: bool) -> None:
    toy, made = model(forgets=forgets, pads=pads)
    mask = MASK.clone()
    before = toy(*tensors(), mask)
    mask[0, 0] = False
    after = toy(*tensors(), mask)
    expected = model(pads=pads)[0](*tensors(), mask.clone())
    assert (before - expected).abs().max() > 1e-3
    assert torch.equal(after, expected) == forgets


def test_masks_of_old_requests_are_let_go() -> None:
    toy, made = model(pads=True)
    mask = MASK.clone()
    old = weakref.ref(mask)
    toy(*tensors(), mask)
    del mask
    toy(*tensors(), MASK)
    assert old() is None
    broken, _ = model(forgets=False, pads=True)
    mask = MASK.clone()
    old = weakref.ref(mask)
    broken(*tensors(), mask)
    del mask
    broken(*tensors(), MASK)
    assert old() is not None


def test_the_root_forgets_behind_its_docstring_and_only_what_is_read() -> None:
    module = cst.parse_module(ROOT)
    root = module.body[0]
    assert isinstance(root, cst.ClassDef)
    made = cst.Module([forget_masks(root, module), *module.body[1:]])
    assert made.code.index("Of a model") < made.code.index("        forget_masks()\n") < made.code.index("# 1. blocks")
    assert forgetting(made).count("cache_clear()") == 2
    plain = cst.parse_module(made.code.replace("pad_keys(mask, (0, 0))", "mask"))
    assert forgetting(plain).count("cache_clear()") == 1
    other = cst.parse_module(ROOT.replace("KeyMaskedAttention(", "Attention(").replace("pad_keys(", "pad("))
    assert forget_masks(other.body[0], other) is other.body[0]  # type: ignore[arg-type]
    assert forgetting(other) == ""


BESIDE = "query = query + self.layers[0]._run_local_attention(query, key, value, AttentionMetadata(attn_mask=mask))\n"
APART = ROOT.replace("# 1. blocks\n", f"query = query * 2\n        {BESIDE}")


@pytest.mark.parametrize("folds", [False, True], ids=["made", "broken"])
@torch.inference_mode()
def test_a_compiled_model_whose_attention_is_not_reads_masks_anew(folds: bool) -> None:
    """As with HSDP: vLLM-Omni keeps attention out of the graphs, and what stands in front of the first is compiled."""
    toy, made = model(APART, folds=folds)
    outside: Any = torch.compiler.disable
    for layer in toy.layers:
        layer._run_local_attention = outside(layer._run_local_attention)
    torch.compiler.reset()
    counter: Any = CompileCounter()
    forward: Any = torch.compile(toy.forward, backend=counter)
    mask = MASK.clone()
    before = forward(*tensors(), mask)
    assert made["kept_keys"].cache_info().misses > 0  # it is asked although the model is compiled
    mask[0, 0] = False
    after = forward(*tensors(), mask)
    expected = model(APART)[0](*tensors(), mask.clone())
    assert counter.frame_count > 0 and (before - expected).abs().max() > 1e-3
    assert torch.equal(after, expected) == (not folds)


SHARDED = """
class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = ToyBlock()
        self.blocks = nn.ModuleList(ToyBlock() for _ in range(2))

    def forward(self, query, key, value, mask):
        query = query * 2
        query = self.first(query, key, value, mask)
        for block in self.blocks:
            query = block(query, key, value, mask)
        return query


class ToyBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.attn = KeyMaskedAttention()
        self.attn._run_local_attention = torch.compiler.disable(self.attn._run_local_attention)

    def forward(self, query, key, value, mask):
        return self.attn._run_local_attention(self.linear(query), key, value, AttentionMetadata(attn_mask=mask))
"""


def with_fsdp(store: str) -> dict[bool, tuple[int, bool]]:
    """How many graphs the model made, and whether a changed mask counted; by whether it folds.  One rank, on CPU."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    mesh, found = init_device_mesh("cpu", (1,)), {}
    for folds in (False, True):
        torch.manual_seed(0)
        _, made = written(SHARDED, folds=folds)
        toy = made["ToyModel"]()
        for part in (toy.first, *toy.blocks, toy):
            fully_shard(part, mesh=mesh)
        torch.compiler.reset()
        counter: Any = CompileCounter()
        toy.compile(backend=counter)
        mask = MASK.clone()
        with torch.no_grad():
            before = toy(*tensors(), mask)
            mask[0, 0] = False
            after = toy(*tensors(), mask)
            made["kept_keys"].cache_clear()
            expected = toy(*tensors(), mask.clone())
        assert not torch.equal(before, expected)
        found[folds] = (counter.frame_count, torch.equal(after, expected))
    dist.destroy_process_group()
    return found


def test_a_compiled_model_under_fsdp_reads_masks_anew(tmp_path: Path) -> None:
    with get_context("spawn").Pool(1) as pool:
        found = pool.apply(with_fsdp, (str(tmp_path / "store"),))
    assert all(graphs > 0 for graphs, _ in found.values())
    assert {folds: anew for folds, (_, anew) in found.items()} == {False: True, True: False}


def test_padding_that_is_a_query_has_zeros() -> None:
    layer = names(MADE + PADDED.format(base="KeyMaskedAttention"))["PaddedAttention"]()
    got = layer._run_local_attention(*tensors(), Metadata(MASK))
    expected = Layer()._run_local_attention(*tensors(), Metadata(MASK))
    assert layer.given[0][0] == 4
    assert (got - expected)[MASK].abs().max() < 1e-6
    assert got[~MASK].abs().max() == 0


CLASS = """
class ToyAttention(nn.Module):
    def forward(self, query, key, value, attention_mask):
        {line}
        return self.attn(query, key, value, AttentionMetadata(attn_mask={given}))
"""


def toy(line: str, given: str = "attention_mask") -> cst.ClassDef:
    (node,) = cst.parse_module(CLASS.format(line=line, given=given)).body
    assert isinstance(node, cst.ClassDef)
    return node


def test_a_mask_is_padded_once() -> None:
    line = "attention_mask = F.pad(attention_mask, (key.shape[1] - attention_mask.shape[1], 0), value=True)"
    after = cst.Module([pad_once(toy(line))]).code
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
    node = toy(line)
    assert pad_once(node) is node


@pytest.mark.parametrize(
    "line",
    [
        "pass",
        "attention_mask = attention_mask.bool()",
        "attention_mask = F.pad(attention_mask, (2, 0), value=True)",
        "query = attention_mask[:, 0] * query",
    ],
)
def test_masks_that_come_from_the_caller_are_one_for_all(line: str) -> None:
    assert one_for_all(toy(line))


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("attention_mask = torch.cat([attention_mask, more], dim=1)", "attention_mask"),
        ("attention_mask = attention_mask.bool()[:, 2:]", "attention_mask"),
        ("attention_mask[:, 0] = True", "attention_mask"),
        ("attention_mask, query = query, attention_mask", "attention_mask"),
        ("mask = attention_mask[:, 2:]", "mask"),
        ("pass", "attention_mask[:, 2:]"),
        ("pass", "gather_keys(attention_mask)"),
    ],
)
def test_masks_that_a_layer_makes_are_not_one_for_all(line: str, given: str) -> None:
    assert not one_for_all(toy(line, given))
