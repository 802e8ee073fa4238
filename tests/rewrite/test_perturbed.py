"""Blocks whose attention a call perturbs, in a written port."""

from __future__ import annotations

from dataclasses import replace

import libcst as cst
import pytest

from omniport.analyse.demand import NOTHING, Demand
from omniport.errors import UnsupportedError
from omniport.port import analyse_transformer
from omniport.rewrite.perturbed import SUBJECT, perturb
from omniport.rewrite.transformer import render_transformer
from omniport.source.tree import SourceTree

MODELS = {"HunyuanDiT2DModel": "value", "PixArtTransformer2DModel": "value", "SanaTransformer2DModel": "value"}


def rendered(diffusers: SourceTree, name: str, demand: Demand) -> str:
    found = analyse_transformer(diffusers, name, None, demand)
    return render_transformer(found.normal, found.plan, header="", attributes=(), separate_cfg=True)


@pytest.mark.parametrize(("name", "kind"), [*MODELS.items(), ("SD3Transformer2DModel", "context")])
def test_the_forward_takes_the_blocks(diffusers: SourceTree, name: str, kind: str) -> None:
    plain = rendered(diffusers, name, NOTHING)
    assert "perturbed" not in plain and "_cache_dit_adapter_config" in plain
    found = rendered(diffusers, name, Demand(perturbed=kind, without=frozenset({"qk_norm"})))
    compile(found, name, "exec")
    assert "perturbed_blocks: list[int] | None = None" in found and "in perturbed_blocks" in found
    assert "def find_perturbed_blocks(" in found and "import regex as re" in found
    assert found.count("if perturbed:") == 1 and ("attend_to_context(" in found) == (kind == "context")
    assert "_cache_dit_adapter_config" not in found


def test_norms_that_the_reference_leaves_out_are_refused(diffusers: SourceTree) -> None:
    demand = Demand(perturbed="context", without=frozenset({"qk_norm"}))
    assert "if qk_norm is not None:" in rendered(diffusers, "SD3Transformer2DModel", demand)
    with pytest.raises(UnsupportedError, match="qk_norm='rms_norm'"):
        analyse_transformer(diffusers, "SD3Transformer2DModel", {"qk_norm": "rms_norm"}, demand)
    assert analyse_transformer(diffusers, "SD3Transformer2DModel", {"qk_norm": "rms_norm"}, NOTHING)


@pytest.mark.parametrize("name", ["FluxTransformer2DModel", "HunyuanVideoTransformer3DModel"])
def test_several_lists_of_blocks_are_refused(diffusers: SourceTree, name: str) -> None:
    with pytest.raises(UnsupportedError, match="blocks of one list"):
        analyse_transformer(diffusers, name, None, Demand(perturbed="value"))


def test_attention_of_another_class_is_refused(diffusers: SourceTree) -> None:
    with pytest.raises(UnsupportedError, match="self-attentions that can be perturbed"):
        rendered(diffusers, "WanTransformer3DModel", Demand(perturbed="value"))


def test_text_in_front_of_the_image_is_refused(diffusers: SourceTree) -> None:
    with pytest.raises(UnsupportedError, match="does not attend once over two streams"):
        rendered(diffusers, "QwenImageTransformer2DModel", Demand(perturbed="context"))


def test_without_the_decision_the_code_stays(diffusers: SourceTree) -> None:
    found = analyse_transformer(diffusers, "SanaTransformer2DModel", None, NOTHING)
    module = cst.parse_module("class A:\n    pass\n")
    assert perturb(module, found.plan, "A") == (module, "")


def test_code_of_another_form_is_refused(diffusers: SourceTree) -> None:
    found = analyse_transformer(diffusers, "SanaTransformer2DModel", None, Demand(perturbed="value"))
    text = rendered(diffusers, "SanaTransformer2DModel", NOTHING)
    assert any(d.subject == SUBJECT for d in found.plan.decisions)
    for old, new in (
        ("self.to_out[0](", "self.put_out("),
        ("for block in self.transformer_blocks:", "for block in self.transformer_blocks[1:]:"),
        ("value = self.to_v(hidden_states)", "value = self.v(hidden_states)"),
        (
            "        if original_dtype == torch.float16:",
            "        print(scores)\n        if original_dtype == torch.float16:",
        ),
    ):
        assert old in text
        with pytest.raises(UnsupportedError):
            perturb(cst.parse_module(text.replace(old, new)), found.plan, "SanaTransformer2DModel")
    one = replace(found.plan, classes=())
    with pytest.raises(UnsupportedError, match="0 self-attentions"):
        perturb(cst.parse_module(text), one, "SanaTransformer2DModel")


# -------------------------------------------------------------------------------------------------------- its meaning
def test_tokens_attend_to_themselves_and_the_context() -> None:
    torch = pytest.importorskip("torch")
    from omniport.rewrite.perturbed import _CONTEXT, _WHOLE

    space: dict[str, object] = {"torch": torch}
    exec(_CONTEXT.format(name="attend", keys=_WHOLE), space)
    query, key, value = (torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    mask = torch.zeros(7, 7)
    mask[:5, :5] = float("-inf")
    mask[:5, :5].fill_diagonal_(0)
    heads_first = [part.transpose(1, 2) for part in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2)
    found = space["attend"](query, key, value, 5)  # type: ignore[operator]
    torch.testing.assert_close(found, expected[:, :5])
    full = torch.nn.functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)
    assert not torch.allclose(found, full[:, :5], atol=1e-2)


def test_layers_are_found_by_their_names_as_in_the_reference() -> None:
    regex = pytest.importorskip("regex")
    from omniport.rewrite.perturbed import _FIND

    space: dict[str, object] = {"re": regex}
    exec(_FIND.format(blocks="blocks", attention="attn1", others="").strip(), space)
    find = space["find_perturbed_blocks"]
    model = type("Model", (), {"blocks": [None] * 12})()

    def found(patterns: object) -> object:
        return find(model, patterns)  # type: ignore[operator]

    assert found("blocks.1") == [1, 10, 11]  # a part of the name will do
    assert found("blocks.1.attn1") == [1] and found(["blocks.(3|5)", r"blocks\.3\."]) == [3, 5]
    assert found([]) == [] and found("attn1") == list(range(12))
    for absent in ("blocks.12", "attn2", "mid"):
        with pytest.raises(ValueError, match=absent):
            found(["blocks.1", absent])
