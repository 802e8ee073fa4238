"""Made-up inputs: masks differ per sample, layouts follow the first embedder, every class's reference runs on them."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from omniport.corpus.classes import corpus_classes
from omniport.errors import UnsupportedError
from omniport.source.tree import SourceTree

pytestmark = pytest.mark.verify
torch = pytest.importorskip("torch")
nn = torch.nn

SAMPLE = (
    "AceStepTransformer1DModel",
    "CogVideoXTransformer3DModel",
    "Kandinsky5Transformer3DModel",
    "OmniGenTransformer2DModel",
    "QwenImageTransformer2DModel",
    "SanaTransformer2DModel",
    "StableAudio3DiTModel",
    "WanTransformer3DModel",
)


def vocabulary(model: Any = None, **config: Any) -> Any:
    from omniport.verify.vocabulary import Sizes, Vocabulary

    return Vocabulary(config, Sizes(), model or nn.Identity(), torch.Generator().manual_seed(0))


def test_masks_keep_different_lengths() -> None:
    mask = vocabulary().evaluate("keep(batch, text)")
    assert mask.dtype == torch.bool and mask.shape == (2, 20)
    assert mask.sum(1).tolist() == vocabulary().evaluate("lengths(batch, text)").tolist() == [17, 13]


def test_rope_tables_pair_neighbours_or_halves() -> None:
    cos, sin = vocabulary().evaluate("rope(5, 8)")
    assert torch.equal(cos[:, 0::2], cos[:, 1::2]) and torch.allclose(cos**2 + sin**2, torch.ones(5, 8))
    cos, _ = vocabulary().evaluate("rope(5, 8, true)")
    assert torch.equal(cos[:, :4], cos[:, 4:]) and not torch.equal(cos[:, 0::2], cos[:, 1::2])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 9), (2, 24, 4)),
        (nn.Conv1d(4, 9, 1), (2, 4, 24)),
        (nn.Conv2d(4, 9, 2, 2), (2, 4, 8, 12)),
        (nn.Conv3d(4, 9, (1, 2, 2), (1, 2, 2)), (2, 4, 3, 8, 12)),
    ],
)
def test_latents_follow_the_first_embedder(layer: Any, shape: tuple[int, ...]) -> None:
    assert vocabulary(layer, in_channels=4).evaluate("latents()").shape == shape


def test_a_time_embedding_of_another_width_is_no_patch_embedder() -> None:
    """Qwen-Image: 256 features of time stand in front, four times the 64 channels of a token."""
    model = nn.Module()
    model.time = nn.Sequential(nn.Linear(16, 9))
    model.img_in = nn.Linear(4, 9)
    assert vocabulary(model, in_channels=4, patch_size=2).evaluate("latents()").shape == (2, 24, 4)
    spatial = nn.Module()
    spatial.embed = nn.Sequential(nn.Linear(16, 9))
    spatial.blocks = nn.ModuleList([nn.Linear(9, 4)])
    spatial.out = nn.Linear(4, 16)  # behind the blocks
    assert vocabulary(spatial, in_channels=4, patch_size=2).evaluate("latents()").ndim == 4


def test_latents_without_an_embedder_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="no Linear or convolution takes the 4 input channels"):
        vocabulary(nn.Linear(5, 9), in_channels=4).evaluate("latents()")


def test_a_missing_config_key_is_named() -> None:
    with pytest.raises(UnsupportedError, match="the config has no text_dim"):
        vocabulary(text_dim=None).evaluate("normal(batch, text, text_dim)")


def test_no_builtin_is_reachable() -> None:
    with pytest.raises(UnsupportedError, match="open"):
        vocabulary().evaluate("open('x')")


@pytest.mark.parametrize("name", SAMPLE)
def test_the_reference_runs_and_reacts_to_its_queries(
    name: str, diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omniport.verify.engine import relative_error
    from omniport.verify.tasks import flatten_output
    from omniport.verify.transformers import build_reference, transformer_cases

    file = corpus_classes(diffusers)[name]
    cls = getattr(importlib.import_module("diffusers." + file.removesuffix(".py").replace("/", ".")), name)
    attention = torch.nn.functional.scaled_dot_product_attention
    for case in transformer_cases(name, cls):
        model = build_reference(cls, case)
        for call, make in case.calls.items():
            with torch.inference_mode():
                expected = flatten_output(model(**make(model), return_dict=False))
                assert all(torch.isfinite(t).all() and t.std() > 0 for t in expected)
                with monkeypatch.context() as patch:
                    patch.setattr(
                        torch.nn.functional,
                        "scaled_dot_product_attention",
                        lambda query, key, value, *args, **kwargs: attention(
                            torch.zeros_like(query), key, value, *args, **kwargs
                        ),
                    )
                    blind = flatten_output(model(**make(model), return_dict=False))
            change = max(relative_error(a, b) for a, b in zip(blind, expected, strict=True))
            assert change > 1e-2, f"{case.variant}, {call}: queries change the output by {change:.1e} only"
