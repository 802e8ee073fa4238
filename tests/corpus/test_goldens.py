"""Plan goldens of a few classes; ``make corpus`` compares all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from omniport.corpus.classes import corpus_classes
from omniport.corpus.facts import facts_text, transformer_facts
from omniport.corpus.pipeline_write import write
from omniport.corpus.pipelines import corpus_pipelines
from omniport.port import analyse_transformer
from omniport.source.tree import SourceTree

SAMPLE = ("AceStepTransformer1DModel", "FluxTransformer2DModel", "QwenImageTransformer2DModel", "WanTransformer3DModel")
FOLDER = Path(__file__).parents[2] / "fixtures" / "goldens" / "corpus"


@pytest.mark.parametrize("name", SAMPLE)
def test_plan_facts(name: str, diffusers: SourceTree, golden: Callable[[str, str], None]) -> None:
    found = analyse_transformer(diffusers, name)
    golden(f"corpus/{name}.json", facts_text(transformer_facts(found.plan, found.normal.code)))


@pytest.mark.parametrize("name", ["FluxPipeline", "PixArtSigmaPipeline"])
def test_pipeline_facts(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"pipelines/{name}.json", facts_text(write(None, name).facts))


def test_every_pipeline_has_a_golden(diffusers: SourceTree) -> None:
    assert {path.stem for path in (FOLDER.parent / "pipelines").glob("*.json")} == set(corpus_pipelines(diffusers))


def test_every_class_has_a_golden(diffusers: SourceTree) -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(corpus_classes(diffusers))
