"""Small sources and plans for the tests of the pipeline passes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import libcst as cst

from omniport.plan.model import ModelPlan, PipelinePlan, PortPlan, TransformerPlan
from omniport.rewrite.pipeline.blocks import Block


@dataclass(frozen=True)
class Component:
    library: str
    class_name: str


@dataclass(frozen=True)
class Index:
    components: dict[str, Component | None]


MINI = Index(
    {
        "scheduler": Component("diffusers", "MiniScheduler"),
        "vae": Component("diffusers", "MiniAutoencoder"),
        "text_encoder": Component("transformers", "CLIPTextModel"),
        "tokenizer": Component("transformers", "CLIPTokenizer"),
        "transformer": Component("diffusers", "MiniTransformer2DModel"),
    }
)

FLUX = Index(
    {
        "scheduler": Component("diffusers", "FlowMatchEulerDiscreteScheduler"),
        "vae": Component("diffusers", "AutoencoderKL"),
        "text_encoder": Component("transformers", "CLIPTextModel"),
        "tokenizer": Component("transformers", "CLIPTokenizer"),
        "text_encoder_2": Component("transformers", "T5EncoderModel"),
        "tokenizer_2": Component("transformers", "T5TokenizerFast"),
        "transformer": Component("diffusers", "FluxTransformer2DModel"),
        "image_encoder": None,
        "feature_extractor": None,
    }
)


def block(text: str) -> Block:
    # a first statement keeps the comments above it; those of a module's head belong to the module
    return list(cst.parse_module("pass\n" + textwrap.dedent(text)).body)[1:]


def text(statements: Block) -> str:
    return cst.Module(body=statements).code if statements else ""


def function(source: str) -> cst.FunctionDef:
    node = block(source)[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def port(name: str, pipeline: PipelinePlan, transformer: str) -> PortPlan:
    model = ModelPlan("m", "local", None, pipeline.class_name, "path A", "diffusers", (), (), "")
    empty: tuple[()] = ()
    return PortPlan(
        name,
        model,
        TransformerPlan(transformer, "m", empty, empty, empty, empty, empty, empty, empty, empty, empty, empty, empty),
        pipeline,
        (),
    )
