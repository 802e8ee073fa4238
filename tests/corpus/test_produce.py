"""Planning and writing one class: whatever a class holds, the run goes on and says what it met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import omniport.port
from omniport.corpus.goldens import differing, update_goldens
from omniport.corpus.produce import MODELS, Produced, attention_calls, fresh_tree, produce
from omniport.errors import OmniportError, UnsupportedError

FLUX = ("FluxTransformer2DModel", "models/transformers/transformer_flux.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / MODELS).mkdir(parents=True)
    return tmp_path


def test_a_class_is_planned_and_written(tree: Path) -> None:
    done = produce(None, tree, *FLUX)
    assert [(s.stage, s.state) for s in done.stages] == [("plan", "ok"), ("scaffold", "ok")], done.stages
    text = (tree / MODELS / "corpus_flux" / "flux_transformer.py").read_text()
    assert "class FluxTransformer2DModel" in text
    assert attention_calls(text) == (2, 0)
    assert done.facts["attentions"] and done.facts["linears"]["FluxAttention.to_q"][:3] == ["qkv", "to_qkv", "q"]
    cpu = done.stages[1].figure
    assert cpu is not None and cpu > 0


def test_a_construct_that_is_not_understood_is_a_refusal(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UnsupportedError("a walrus", "diffusers/models/x.py", 12)

    monkeypatch.setattr(omniport.port, "analyse_transformer", refuse)
    (stage,) = produce(None, tree, *FLUX).stages
    assert (stage.stage, stage.state, stage.reason) == ("plan", "refused", "diffusers/models/x.py:12: a walrus")


def test_a_bug_is_a_failure_with_its_place(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(omniport.port, "analyse_transformer", crash)
    done = produce(None, tree, *FLUX)
    (stage,) = done.stages
    assert stage.state == "failed" and "KeyError" in stage.reason and "test_produce.py:" in stage.reason
    assert done.facts == {"refused": "'lost'"}


def test_attention_calls_tell_the_layer_from_the_references_own() -> None:
    code = (
        "from vllm_omni.diffusion.attention.layer import Attention\n"
        "a = Attention(1)\nb = OtherAttention(2)\nF.scaled_dot_product_attention(q, k, v)\n"
    )
    assert attention_calls(code) == (1, 1)
    assert attention_calls("a = Attention(1)") == (0, 0), "a class of the same name from elsewhere is no layer"


def test_a_fresh_tree_replaces_only_a_tree(tmp_path: Path) -> None:
    package = tmp_path / "site" / "vllm_omni"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    fresh_tree(package, tmp_path / "tree")
    (tmp_path / "tree" / "vllm_omni" / "old.py").write_text("")
    fresh_tree(package, tmp_path / "tree")
    assert not (tmp_path / "tree" / "vllm_omni" / "old.py").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("precious")
    with pytest.raises(OmniportError, match="is no tree of an earlier corpus run"):
        fresh_tree(package, other)
    assert (other / "mine.txt").exists()


def test_goldens_that_differ_are_named(tmp_path: Path) -> None:
    same, other = (Produced(name, "", (), {"classes": [name]}, (), {}, ()) for name in "ab")
    assert differing(tmp_path, [same, other]) == ["a", "b"], "there are none yet"
    update_goldens(tmp_path, [same, other])
    assert differing(tmp_path, [same, other]) == []
    assert differing(tmp_path, [same, Produced("b", "", (), {"classes": []}, (), {}, ())]) == ["b"]
