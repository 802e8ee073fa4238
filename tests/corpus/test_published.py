"""Published configs: no key is dropped, and a form of the corpus takes every branch that they take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from omniport.corpus.classes import corpus_classes
from omniport.corpus.published import Published, compare, load_published, markdown, standing_of
from omniport.errors import OmniportError
from omniport.source.tree import SourceTree
from omniport.verify.classes import ENTRIES

ROOT = Path(__file__).parents[2]
DATA = ROOT / "fixtures" / "published.toml"
PUBLISHED = load_published(DATA)


def models(name: str, *ends: str) -> list[Published]:
    found = [p for p in PUBLISHED[name] if p.model.endswith(ends)]
    assert len(found) == len(ends)
    return found


def test_there_are_configs_of_most_classes(diffusers: SourceTree) -> None:
    classes = corpus_classes(diffusers)
    assert PUBLISHED.keys() <= classes.keys()
    known = [p for entries in PUBLISHED.values() for p in entries if p.config is not None]
    assert len(known) >= 120
    assert len({p.class_name for p in known}) >= 45
    assert all(":" in p.source and p.source.rpartition(":")[2].isdigit() for p in known)
    assert len({(p.class_name, p.model) for p in known}) == len(known), "a model stands twice"


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_port_takes_every_key(name: str) -> None:
    golden = json.loads((ROOT / "fixtures" / "goldens" / "corpus" / f"{name}.json").read_text("utf-8"))
    for published in PUBLISHED[name]:
        if "parameters" in golden:  # the classes that are refused have no port
            assert (published.config or {}).keys() <= set(golden["parameters"]), published.model
        assert not set(published.ignored) & set(golden.get("parameters", ())), published.model


def test_a_form_covers_every_published_config_and_the_page_says_so() -> None:
    standings = compare(DATA)
    assert {s.published.model: s.beyond for c in standings for s in c.uncovered} == {}
    refused = {s.published.model: s.refused for c in standings for s in c.models if s.refused}
    assert list(refused) == ["kandinskylab/Kandinsky-5.0-T2V-Lite-sft-10s-Diffusers"]
    assert "sparse attention" in next(iter(refused.values()))
    page = "\n".join(markdown(standings)) + "\n"
    assert page == (ROOT / "docs" / "published.md").read_text("utf-8"), "renew it: see its first line"


# ----------------------------------------------------------------------------------------------------------- the twins
@pytest.mark.parametrize(
    ("name", "end", "forms", "beyond"),
    [
        ("LTX2VideoTransformer3DModel", "LTX-2.5", {"2.5"}, "keyframes_abs_pos_embedding"),  # a tensor
        ("LTX2VideoTransformer3DModel", "LTX-2", {"2.0"}, "`self.rope_type == 'split'` is True"),  # a test
        ("PixArtTransformer2DModel", "PixArt-XL-2-512x512", {"alpha 512"}, "pixart_transformer_2d.py:"),  # a branch
        ("SD3Transformer2DModel", "3.5-large", {"3.5 large", "3.5 medium", "3.5 medium, layers skipped"}, "norm_q"),
    ],
)
def test_a_form_that_is_missing_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, end: str, forms: set[str], beyond: str
) -> None:
    published = models(name, f"/{end}" if end == "LTX-2" else end)
    (standing,) = standing_of(name, published).models
    assert set(standing.forms) == forms
    entry = ENTRIES[name]
    kept = {form: variant for form, variant in entry.variants.items() if form not in forms}
    monkeypatch.setitem(ENTRIES, name, replace(entry, variants=kept))
    without = standing_of(name, published)
    assert without.uncovered == without.models
    assert any(beyond in words for words in without.models[0].beyond), without.models[0].beyond


def test_a_value_that_the_port_does_not_serve_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from omniport.analyse.modes import MODES

    published = models("SanaTransformer2DModel", "SANA1.5_4.8B_1024px")
    assert standing_of("SanaTransformer2DModel", published).models[0].forms == ("1.5",)
    modes = MODES["SanaTransformer2DModel"]
    monkeypatch.setitem(MODES, "SanaTransformer2DModel", {"qk_norm": replace(modes["qk_norm"], values=(None,))})
    (standing,) = standing_of("SanaTransformer2DModel", published).models
    assert standing.forms == ()
    assert "qk_norm='rms_norm_across_heads'" in standing.beyond


def test_a_key_that_the_class_lacks_is_an_error() -> None:
    (published,) = models("LTXVideoTransformer3DModel", "LTX-Video")
    with pytest.raises(OmniportError, match="takes no new_key"):
        standing_of("LTXVideoTransformer3DModel", [replace(published, config={"new_key": 1})])


def test_a_model_without_a_config_is_no_proof() -> None:
    (published,) = models("LatteTransformer3DModel", "Latte-1")
    standing = standing_of("LatteTransformer3DModel", [published])
    assert published.config is None
    assert standing.models[0].forms == ()
    assert "- **LatteTransformer3DModel**: maxin-cn/Latte-1" in "\n".join(markdown([standing]))
