"""Tiny configs still fit together, and a config that no rule understands is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniport.errors import OmniportError
from omniport.verify.recipes import ENCODERS, HEAD_DIM, VAES
from omniport.verify.tiny import Width, recipe_for, scale_axes, shrink_component, shrink_transformer

CLIP, CLIP_2, T5 = Width("text_encoder", 768, 28), Width("text_encoder_2", 1280, 36), Width("text_encoder_3", 4096, 40)
LATENT = Width("vae", 16, 4)
DEFAULTS: dict[str, Any] = {"num_attention_heads": 24, "attention_head_dim": 128, "num_layers": 19, "patch_size": 1}


def shrink(**config: Any) -> dict[str, Any]:
    return shrink_transformer(DEFAULTS, config, [CLIP, CLIP_2, T5], LATENT)


@given(st.lists(st.integers(1, 64).map(lambda n: 2 * n), min_size=1, max_size=4))
def test_rope_axes_fill_the_head(axes: list[int]) -> None:
    scaled = scale_axes(axes, HEAD_DIM)
    assert sum(scaled) == HEAD_DIM
    assert all(a >= 2 and a % 2 == 0 for a in scaled)
    assert scaled == [s for _, s in sorted(zip(range(len(axes)), scaled, strict=True))]


def test_rope_axes_keep_their_order_of_size() -> None:
    assert scale_axes([16, 56, 56], 16) in ([2, 6, 8], [4, 6, 6], [2, 8, 6])
    assert scale_axes([32, 112, 112], 16)[0] < 6


def test_more_axes_than_fit_are_refused() -> None:
    with pytest.raises(OmniportError, match="9 rope axes do not fit"):
        scale_axes([2] * 9, 16)


def test_every_kind_of_block_stays_at_least_twice() -> None:
    tiny = shrink(num_single_layers=38, num_layers=19)
    assert tiny["num_layers"] >= 2 and tiny["num_single_layers"] >= 2
    assert tiny["num_layers"] != tiny["num_single_layers"], "a mixed-up count shows"


def test_patchified_channels_keep_their_ratio() -> None:
    assert shrink(in_channels=64)["in_channels"] == 16
    assert shrink(in_channels=16, out_channels=16)["out_channels"] == 4


def test_text_widths_follow_the_encoder_they_belong_to() -> None:
    assert shrink(joint_attention_dim=4096)["joint_attention_dim"] == 40
    assert shrink(pooled_projection_dim=768)["pooled_projection_dim"] == 28


def test_a_width_may_be_that_of_two_encoders_side_by_side() -> None:
    assert shrink(pooled_projection_dim=2048)["pooled_projection_dim"] == 28 + 36


def test_inner_width_follows_the_heads() -> None:
    assert shrink(caption_projection_dim=24 * 128)["caption_projection_dim"] == 4 * HEAD_DIM


def test_a_text_that_was_projected_has_the_inner_width() -> None:
    """PixArt-Sigma: caption_channels is the encoder's width, cross_attention_dim that of the transformer."""
    tiny = shrink(cross_attention_dim=24 * 128, caption_channels=4096)
    assert tiny["cross_attention_dim"] == 4 * HEAD_DIM and tiny["caption_channels"] == shrink(text_dim=4096)["text_dim"]
    assert shrink(cross_attention_dim=4096)["cross_attention_dim"] == tiny["caption_channels"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"joint_attention_dim": 1000}, "joint_attention_dim=1000 is the width of no text encoder"),
        ({"in_channels": 33}, "in_channels=33 is no multiple of the 16 latent channels of vae"),
        ({"caption_projection_dim": 7}, "caption_projection_dim=7 is not heads times head size"),
    ],
)
def test_widths_that_fit_nothing_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(OmniportError, match=message):
        shrink(**config)


def test_what_is_absent_or_none_stays_so() -> None:
    tiny = shrink(out_channels=None)
    assert tiny["out_channels"] is None and "joint_attention_dim" not in tiny
    assert tiny["patch_size"] == 1


def test_internal_keys_of_a_config_are_left_out() -> None:
    assert "_class_name" not in shrink(_class_name="FluxTransformer2DModel")


ENCODER_WIDTHS = {"CLIPTextModel": "hidden_size", "T5EncoderModel": "d_model"}


def test_a_published_config_wins_over_what_is_assumed() -> None:
    recipe = ENCODERS["CLIPTextModel"]
    assumed, _ = shrink_component(recipe, {"hidden_size": 512}, {})
    published, tiny = shrink_component(recipe, {"hidden_size": 512}, {"hidden_size": 1024})
    assert (assumed["hidden_size"], published["hidden_size"], tiny["hidden_size"]) == (768, 1024, 28)


def test_what_is_assumed_for_a_class_alone_fits_the_transformer() -> None:
    """FLUX named by its class: the transformer's own defaults against what CLIP, T5 and the VAE publish."""
    text = [Width(name, recipe_for(name).published[key], 1) for name, key in ENCODER_WIDTHS.items()]
    latent = Width("vae", recipe_for("AutoencoderKL").published["latent_channels"], 4)
    config = {"joint_attention_dim": 4096, "pooled_projection_dim": 768, "in_channels": 64, "out_channels": None}
    tiny = shrink_transformer(config, {}, text, latent)
    assert (tiny["joint_attention_dim"], tiny["pooled_projection_dim"], tiny["in_channels"]) == (1, 1, 16)


def test_a_vae_keeps_its_depth() -> None:
    _, tiny = shrink_component(
        VAES["AutoencoderKL"], {}, {"block_out_channels": [128, 256, 512], "latent_channels": 16}
    )
    assert tiny == {"block_out_channels": [8, 8, 8], "latent_channels": 4}


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(OmniportError, match="no recipe makes a tiny UMT5EncoderModel; there are recipes for"):
        recipe_for("UMT5EncoderModel")
