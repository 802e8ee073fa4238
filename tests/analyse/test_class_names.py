"""What a class that is specialised twice is called: after the block that holds it, or the model's attribute."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.analyse.class_names import class_names
from omniport.analyse.values import PRESENT, Instances, ModuleList, Reference, Value
from omniport.analyse.variants import Variant


def variant(key: str, name: str, *owners: str, module: str = "diffusers.models.attention", **facts: Value) -> Variant:
    tree = cst.ensure_type(cst.parse_module(f"class {name}:\n    pass\n").body[0], cst.ClassDef)
    return Variant(key, Reference(module, name), tree, (), facts, {}, owners=list(owners))


def second(name: str, owner: str, root: str, attribute: str = "", **more: object) -> str:
    """The name of the second variant of a class that ``owner`` holds."""
    parts = [variant("a", name), variant("b", name, "o", **more), variant("o", owner), variant("r", root)]  # type: ignore[arg-type]
    if owner == root:
        parts[1].owners = ["r"]
    parts[3 if owner == root else 2].attributes = {"other": PRESENT, attribute: Instances(frozenset({"b"}))}
    variants = {part.key: part for part in parts}
    names = class_names(variants, ["a", "b", "r"], "r")
    assert names["a"] == name and names["r"] == root
    return names["b"]


@pytest.mark.parametrize(
    ("name", "owner", "expected"),
    [
        ("Attention", "AllegroTransformerBlock", "AllegroAttention"),  # two words that start with one letter
        ("Attention", "AuraFlowSingleTransformerBlock", "AuraFlowSingleAttention"),
        ("FluxAttention", "FluxSingleTransformerBlock", "FluxSingleAttention"),
        ("LTX2Attention", "LTX2VideoTransformerBlock", "LTX2VideoAttention"),
        ("HiDreamAttention", "HiDreamImageSingleTransformerBlock", "HiDreamImageSingleAttention"),
        ("GELU", "FeedForward", "FeedForwardGELU"),
        ("Attention", "BasicTransformerBlock", "BasicAttention"),
    ],
)
def test_a_block_lends_its_name(name: str, owner: str, expected: str) -> None:
    assert second(name, owner, "SomeTransformer2DModel") == expected


def test_the_model_that_a_class_comes_from_is_not_that_of_the_port() -> None:
    other = "diffusers.models.transformers.transformer_flux"
    assert second("FluxAttention", "ChromaSingleTransformerBlock", "ChromaTransformer2DModel", module=other) == (
        "ChromaSingleAttention"
    )


@pytest.mark.parametrize(
    ("name", "root", "attribute", "expected"),
    [
        ("ZImageTransformerBlock", "ZImageTransformer2DModel", "context_refiner", "ZImageContextRefinerBlock"),
        ("BasicTransformerBlock", "LatteTransformer3DModel", "temporal_transformer_blocks",
         "LatteTemporalTransformerBlock"),
        ("Flux2Modulation", "Flux2Transformer2DModel", "single_stream_modulation", "Flux2SingleStreamModulation"),
        ("FeedForward", "GlmImageTransformer2DModel", "prompt_projector", "GlmImagePromptProjectorFeedForward"),
    ],
)  # fmt: skip
def test_at_the_model_it_is_the_attribute(name: str, root: str, attribute: str, expected: str) -> None:
    assert second(name, root, root, attribute) == expected


def test_an_attribute_that_is_a_number_says_nothing() -> None:
    assert second("Norm", "XTransformer2DModel", "XTransformer2DModel", "norm_2") == "Norm2"


def test_a_list_holds_its_modules() -> None:
    parts = {k: variant(k, "Block", "r") for k in "ab"} | {"r": variant("r", "XTransformer2DModel")}
    parts["r"].attributes = {"late_blocks": ModuleList((Instances(frozenset({"b"})),), repeated=True)}
    assert class_names(parts, ["a", "b", "r"], "r")["b"] == "XLateBlock"


@pytest.mark.parametrize("fact", ["cross_attention_dim", "encoder_hidden_states"])
def test_attention_to_another_sequence_is_named_so_where_the_name_is_taken(fact: str) -> None:
    parts = {k: variant(k, "Attention", "o") for k in "abc"}
    parts |= {"o": variant("o", "CosmosTransformerBlock"), "r": variant("r", "CosmosTransformer3DModel")}
    assert class_names(parts, ["a", "b", "c", "o", "r"], "r")["c"] == "Attention2"
    if fact == "cross_attention_dim":
        parts["c"].arguments = {fact: PRESENT}
    else:
        parts["c"].inputs = {fact: PRESENT}
    assert class_names(parts, ["a", "b", "c", "o", "r"], "r")["c"] == "CosmosCrossAttention"


def test_names_are_given_once() -> None:
    parts = {k: variant(k, "Norm", "r") for k in "abcd"} | {"r": variant("r", "XTransformer2DModel")}
    names = class_names(parts, ["a", "b", "c", "d", "r"], "r")
    assert [names[k] for k in "abcd"] == ["Norm", "Norm2", "Norm3", "Norm4"]
