"""``diffusers:<Class>``, read from the installed diffusers as text."""

from __future__ import annotations

import gc
import re
import sys
import time

import pytest

from omniport.errors import OmniportError, UnsupportedError
from omniport.hub import Component, open_model
from omniport.hub.synthetic import pipeline_names
from omniport.source.tree import SourceTree


def test_flux(source: SourceTree) -> None:
    repo = open_model("diffusers:FluxPipeline", source=source)
    assert (repo.form, repo.revision, repo.files(), repo.weights("transformer")) == ("diffusers", None, [], None)
    assert repo.index.components == {
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
    config = repo.config("transformer")
    assert config["_class_name"] == "FluxTransformer2DModel"
    assert (config["num_layers"], config["out_channels"], config["axes_dims_rope"]) == (19, None, [16, 56, 56])
    assert repo.config("text_encoder") == {} and repo.config("image_encoder") == {}
    assert repo.index.data["transformer"] == ["diffusers", "FluxTransformer2DModel"]
    file, line = repo.index.place("transformer")
    text = (source.root.parent / file).read_text("utf-8").splitlines()[line - 1]
    assert "transformer: FluxTransformer2DModel" in text


def test_settings_and_the_denoiser_that_stays(source: SourceTree) -> None:
    index = open_model("diffusers:WanPipeline", source=source).index
    assert index.settings == {"boundary_ratio": None, "expand_timesteps": False}
    assert index.components["transformer"] == Component("diffusers", "WanTransformer3DModel")
    assert index.components["transformer_2"] is None


def test_optional_but_required_parameters_stay(source: SourceTree) -> None:
    components = open_model("diffusers:PixArtSigmaPipeline", source=source).index.components
    assert components["text_encoder"] == Component("transformers", "T5EncoderModel")


def test_enumeration_of_schedulers(source: SourceTree) -> None:
    repo = open_model("diffusers:StableDiffusionXLPipeline", source=source)
    scheduler = repo.index.components["scheduler"]
    assert scheduler is not None and scheduler.class_name.endswith("Scheduler")
    assert repo.config("scheduler")["num_train_timesteps"] == 1000


def test_class_of_a_pipeline_folder(source: SourceTree) -> None:
    components = open_model("diffusers:FluxPriorReduxPipeline", source=source).index.components
    assert components["image_embedder"] == Component("flux", "ReduxImageEncoder")


def test_unknown_class(source: SourceTree) -> None:
    with pytest.raises(OmniportError, match="has no pipeline class FluxPipline; did you mean FluxPipeline"):
        open_model("diffusers:FluxPipline", source=source)
    with pytest.raises(OmniportError, match="has no pipeline class Zzzzzz; name one such as diffusers:FluxPipeline$"):
        open_model("diffusers:Zzzzzz", source=source)


def test_no_pipeline(source: SourceTree) -> None:
    with pytest.raises(OmniportError, match="FluxTransformer2DModel is a model of diffusers"):
        open_model("diffusers:FluxTransformer2DModel", source=source)
    with pytest.raises(OmniportError, match="takes no components"):
        open_model("diffusers:DiffusionPipeline", source=source)


def test_all_pipelines_open_or_are_refused_with_their_line(source: SourceTree) -> None:
    opened = 0
    for name in pipeline_names(source)[::6]:  # every sixth: the whole takes nine seconds
        try:
            index = open_model(f"diffusers:{name}", source=source).index
        except UnsupportedError as error:
            assert re.match(r"diffusers/pipelines/.*\.py:\d+: component \w+: ", str(error))
        except OmniportError as error:
            assert "takes no components" in str(error)
        else:
            opened += 1
            assert index.pipeline_class == name and any(index.components.values())
    assert opened >= 45


def test_fast_and_without_imports() -> None:
    before = set(sys.modules)
    tree = SourceTree.locate()
    gc.disable()  # as the command does; else the trees of the other tests would be gone over, too
    try:
        start = time.process_time()
        open_model("diffusers:FluxPipeline", source=tree)
        taken = time.process_time() - start
    finally:
        gc.enable()
    assert taken < 0.1
    assert not {"diffusers", "huggingface_hub"} & (set(sys.modules) - before)


def test_a_component_annotated_by_a_base_class_is_of_the_published_one(source: SourceTree) -> None:
    repo = open_model("diffusers:SanaPipeline", source=source)
    assert repo.index.components["text_encoder"] == Component("transformers", "Gemma2Model")
    assert repo.index.data["text_encoder"] == ["transformers", "Gemma2Model"]
