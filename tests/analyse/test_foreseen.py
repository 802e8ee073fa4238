"""What a pipeline asks of its denoiser is foreseen from its text: a guess, which has to be right to be of use."""

from __future__ import annotations

import ast

import pytest

from omniport.analyse.demand import NOTHING, Demand, demand_of
from omniport.analyse.foreseen import foreseen_demand
from omniport.analyse.pipeline import analyse_pipeline
from omniport.classify import classify
from omniport.errors import OmniportError
from omniport.hub import open_model
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT


def both(tree: SourceTree, name: str) -> tuple[Demand, Demand]:
    """What is foreseen, and what is so."""
    repo = open_model(f"diffusers:{name}", offline=True, source=tree, require_index=False)
    parts = [component for component in classify(repo, tree, None).components if component.role == "dit"]
    model = tree.exported_class(parts[0].class_name, "models").class_def(parts[0].class_name)
    found = foreseen_demand(tree, name, [part.name for part in parts], model)
    return found, demand_of(analyse_pipeline(tree, name, repo.index, DEFAULT, name="x"))


@pytest.mark.parametrize(
    "name",
    [
        "FluxPipeline",  # asks whether the denoiser has what no class defines
        "CogVideoXPipeline",  # has methods that nothing calls
        "HunyuanImagePipeline",  # hands the denoiser to a guider
        "ZImagePipeline",  # reads parameters of its constructor
    ],
)
def test_nothing_is_foreseen_where_nothing_is_asked(diffusers: SourceTree, name: str) -> None:
    assert both(diffusers, name) == (NOTHING, NOTHING)


@pytest.mark.parametrize(
    "name",
    [
        "AnyFlowFARPipeline",  # a cache and a member
        "BriaFiboPipeline",  # data in the attention arguments
        "Flux2KleinKVPipeline",  # processors
        "FluxControlNetPipeline",  # residuals
        "HiDreamImagePipeline",
        "LTX2Pipeline",  # modules
        "LuminaText2ImgPipeline",  # an old name
        "StableDiffusion3ControlNetPipeline",  # the denoiser itself, handed on by the constructor
    ],
)
def test_what_is_asked_is_foreseen(diffusers: SourceTree, name: str) -> None:
    found, true = both(diffusers, name)
    assert found == true != NOTHING


def test_a_class_that_cannot_be_read_is_refused(diffusers: SourceTree) -> None:
    with pytest.raises(OmniportError):
        foreseen_demand(diffusers, "NoPipeline", ["transformer"], ast.ClassDef("X", [], [], [], []))
