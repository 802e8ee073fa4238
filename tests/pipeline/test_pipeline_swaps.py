"""Attention processors that a pipeline sets on its denoiser: one class for each list of blocks, or a refusal."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from omniport.analyse.demand import Demand, demand_of
from omniport.analyse.pipeline import analyse_pipeline
from omniport.analyse.pipeline_swaps import Swap, swaps
from omniport.classify import classify
from omniport.errors import UnsupportedError
from omniport.hub import open_model
from omniport.port import analyse_transformer
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT

NAME = "Flux2KleinKVPipeline"

PIPELINE = """
from .other import ProcessorA, ProcessorB

class P:
    def __init__(self, transformer):
        self.register_modules(transformer=transformer)
        self._choose()

    def _choose(self):
        'On each list.'
        for block in self.transformer.blocks:
            block.attn.set_processor(ProcessorA())
        for block in self.transformer.singles:
            block.attn.set_processor(ProcessorB())

    def __call__(self, x):
        return self.transformer(x)
"""


def found(tmp_path: Path, text: str, denoisers: tuple[str, ...] = ("transformer",)) -> tuple[Swap, ...]:
    package = tmp_path / "diffusers" / "pipelines"
    package.mkdir(parents=True)
    for place in (tmp_path / "diffusers", package):
        (place / "__init__.py").write_text("", "utf-8")
    (tmp_path / "diffusers" / "__init__.py").write_text('__version__ = "0.0"\n', "utf-8")
    (package / "other.py").write_text("class ProcessorA: ...\nclass ProcessorB: ...\n", "utf-8")
    (package / "p.py").write_text(dedent(text), "utf-8")
    tree = SourceTree.locate(tmp_path)
    module = tree.module("diffusers.pipelines.p")
    assert module is not None
    return swaps(tree, module, module.class_def("P"), denoisers)


def test_a_processor_for_each_list(tmp_path: Path) -> None:
    assert [(s.method, s.place, s.processor) for s in found(tmp_path, PIPELINE)] == [
        ("_choose", "blocks.attn", "diffusers.pipelines.other.ProcessorA"),
        ("_choose", "singles.attn", "diffusers.pipelines.other.ProcessorB"),
    ]


def test_a_class_that_sets_none(tmp_path: Path) -> None:
    assert found(tmp_path, PIPELINE.replace(".set_processor(", ".take(")) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        self._choose()\n", ""),  # others may call it, or nobody
        ("        self._choose()\n", "        if transformer:\n            self._choose()\n"),
        ("return self.transformer(x)", "self._choose()\n        return self.transformer(x)"),
        ("ProcessorA()", "ProcessorA(3)"),
        ("ProcessorA()", "self.processor"),
        ("ProcessorA()", "Unknown()"),
        ("block.attn.set_processor(ProcessorA())", "self.transformer.set_attn_processor(ProcessorA())"),
        ("for block in self.transformer.blocks", "for block in self.transformer.blocks[1:]"),
        ("for block in self.transformer.blocks", "for block in self.vae.blocks"),
        ("self.transformer.singles", "self.transformer.blocks"),  # twice
        ("def _choose(self):", "def _choose(self, kind=None):"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in PIPELINE
    with pytest.raises(UnsupportedError, match="processors"):
        found(tmp_path, PIPELINE.replace(old, new))


def test_all_denoisers_get_them(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="on some denoisers only"):
        found(tmp_path, PIPELINE, ("transformer", "transformer_2"))


def test_the_denoiser_is_specialised_for_each_list(diffusers: SourceTree) -> None:
    repo = open_model(f"diffusers:{NAME}", offline=True, source=diffusers, require_index=False)
    assert classify(repo, diffusers, None).pipeline_class == NAME
    plan = analyse_pipeline(diffusers, NAME, repo.index, DEFAULT, name="x")
    demand = demand_of(plan)
    assert [place for place, _ in demand.processors] == ["transformer_blocks.attn", "single_transformer_blocks.attn"]
    found = analyse_transformer(diffusers, "Flux2Transformer2DModel", None, demand)
    tree = ast.parse(found.normal.code)
    forwards = {
        cls.name: [arg.arg for arg in node.args.args]
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.FunctionDef) and node.name == "forward"
    }
    assert forwards["Flux2Attention"][-3:] == ["kv_cache", "kv_cache_mode", "num_ref_tokens"]
    assert "num_txt_tokens" in forwards["Flux2ParallelSelfAttention"]
    assert "num_txt_tokens" not in forwards["Flux2TransformerBlock"]
    assert not any("kwargs" in name for names in forwards.values() for name in names)
    assert "num_ref_tokens == 0" not in found.normal.code  # asked where it is above zero
    heads = {d.subject: d.value for d in found.plan.decisions if d.subject.startswith("heads of ")}
    assert heads == {"heads of Flux2Attention": "sharded", "heads of Flux2ParallelSelfAttention": "sharded"}
    assert not [d for d in found.plan.decisions if d.subject.startswith("attention call ")]
    features = {feature.name: (feature.supported, feature.why.reason) for feature in found.plan.features}
    assert not features["cache-dit"][0] and "kv_cache" in features["cache-dit"][1]
    assert not features["sequence parallelism"][0] and "kv_cache" in features["sequence parallelism"][1]


def test_without_them_it_is_as_before(diffusers: SourceTree) -> None:
    found = analyse_transformer(diffusers, "Flux2Transformer2DModel")
    assert "kv_cache" not in found.normal.code.replace('`kv_cache_mode="extract"`', "")


def test_a_place_without_attention_is_refused(diffusers: SourceTree) -> None:
    processor = "diffusers.models.transformers.transformer_flux.FluxAttnProcessor"
    demand = Demand(processors=(("transformer_blocks.ff", processor),))
    with pytest.raises(UnsupportedError, match=r"no attention at transformer_blocks\.ff"):
        analyse_transformer(diffusers, "FluxTransformer2DModel", None, demand)
