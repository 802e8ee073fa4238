"""Whole pipelines: the text of our own small one, and facts about FLUX of the installed diffusers."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from ruff import find_ruff_bin

from omniport.analyse.pipeline import analyse_pipeline, component_role
from omniport.errors import OmniportError, UnsupportedError
from omniport.plan.model import PipelinePlan
from omniport.plan.serial import dumps, loads
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.source.tree import SourceModule, SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import FLUX, MINI, Component, Index, port


def ruff(*arguments: str, text: str) -> str:
    command = [find_ruff_bin(), *arguments, "--isolated", "--line-length=120", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def formatted(text: str) -> str:
    return ruff("format", text=ruff("check", "--fix", "--select=I", "-q", text=text))


@pytest.fixture(scope="module")
def mini(reference: SourceTree) -> PipelinePlan:
    return analyse_pipeline(reference, "MiniPipeline", MINI, DEFAULT, name="mini")


@pytest.fixture(scope="module")
def flux(diffusers: SourceTree) -> PipelinePlan:
    return analyse_pipeline(diffusers, "FluxPipeline", FLUX, DEFAULT, name="flux")


@pytest.fixture(scope="module")
def flux_text(diffusers: SourceTree, flux: PipelinePlan) -> str:
    return formatted(render_pipeline(diffusers, port("flux", flux, "FluxTransformer2DModel"), DEFAULT))


def names(plan: PipelinePlan, kind: str) -> set[str]:
    return {d.subject.split(" ", 1)[1] for d in plan.dropped if d.subject.startswith(f"{kind} ")}


def values(plan: PipelinePlan) -> dict[str, object]:
    return {d.subject: d.value for d in plan.decisions}


# ---------------------------------------------------------------------------------------------------- mini
def test_mini_text(reference: SourceTree, mini: PipelinePlan, golden: Callable[[str, str], None]) -> None:
    golden(
        "mini/pipeline_mini.py",
        formatted(render_pipeline(reference, port("mini", mini, "MiniTransformer2DModel"), DEFAULT)),
    )


def test_mini_is_clean(reference: SourceTree, mini: PipelinePlan) -> None:
    text = formatted(render_pipeline(reference, port("mini", mini, "MiniTransformer2DModel"), DEFAULT))
    ruff("check", "--select=E,F,I,UP", text=text)
    for gone in ("callback", "XLA", "mps", "interrupt", "ip_adapter", "lora", "return_dict=True", "deprecate"):
        assert gone not in text, gone


def test_plan_survives_json(mini: PipelinePlan, flux: PipelinePlan) -> None:
    for plan in (mini, flux):
        assert loads(PipelinePlan, dumps(plan)) == plan


def test_every_decision_names_its_line(reference: SourceTree, mini: PipelinePlan) -> None:
    lines = reference.find_class("MiniPipeline", "pipelines").text.splitlines()
    for decision in (*mini.dropped, *mini.decisions):
        assert decision.why.reason and decision.why.file.endswith("pipeline_mini.py"), decision
        assert 0 < decision.why.line <= len(lines), decision
    guard = next(d for d in mini.decisions if d.subject == "guidance guard")
    assert lines[guard.why.line - 1].strip() == "if self.do_classifier_free_guidance:"


def changed(tree: SourceTree, old: str, new: str) -> SourceTree:
    """The reference with ``old`` in the pipeline's source replaced."""
    module = tree.find_class("MiniPipeline", "pipelines")
    assert old in module.text
    other = SourceTree(tree.root, tree.version, dict(tree._modules))
    text = module.text.replace(old, new)
    other._modules[module.name] = SourceModule(module.name, module.path, module.file, text, module.is_package)
    return other


@pytest.mark.parametrize(
    ("old", "new", "construct"),
    [
        ("self.default_sample_size = 16", "self.default_sample_size = self.somewhere()", "self.somewhere"),
        ("self.transformer.config.in_channels // 4", "self.transformer.nowhere", "transformer.nowhere"),
        ("self.transformer.config.in_channels // 4", "len(self.transformer.config)", "config as a whole"),
        ("return MiniPipelineOutput(images=image)", "return MiniPipelineOutput(meshes=image)", "meshes is no known"),
        ("return MiniPipelineOutput(images=image)", "return image", "no pipeline output"),
        ("    text_ids = token_ids", "    print(locals())\n        text_ids = token_ids", "locals"),
        ("time_shift: float = 1.0", "time_shift: float = 1.0, *rest", r"\*"),
        (
            "image_encoder: CLIPVisionModelWithProjection = None",
            "image_encoder: str = None, scale: int = n",
            "no literal",
        ),
        ("image_encoder: CLIPVisionModelWithProjection = None", "scale: int", "no component and has no default"),
    ],
)
def test_unknown_constructs_are_refused_with_their_place(
    reference: SourceTree, old: str, new: str, construct: str
) -> None:
    tree = changed(reference, old, new)
    with pytest.raises(UnsupportedError, match=construct) as error:
        plan = analyse_pipeline(tree, "MiniPipeline", MINI, DEFAULT, name="mini")
        render_pipeline(tree, port("mini", plan, "MiniTransformer2DModel"), DEFAULT)
    assert error.value.file.endswith("pipeline_mini.py") or "locals" in construct


def test_missing_required_component_is_refused(reference: SourceTree) -> None:
    index = Index({**MINI.components, "vae": None})
    with pytest.raises(UnsupportedError, match="component vae is required"):
        analyse_pipeline(reference, "MiniPipeline", index, DEFAULT, name="mini")


def test_component_of_a_foreign_library_is_refused(reference: SourceTree) -> None:
    index = Index({**MINI.components, "vae": Component("somewhere", "Vae")})
    with pytest.raises(UnsupportedError, match="library somewhere"):
        analyse_pipeline(reference, "MiniPipeline", index, DEFAULT, name="mini")


def test_unknown_class_is_refused(reference: SourceTree) -> None:
    with pytest.raises(OmniportError, match="NoSuchPipeline"):
        analyse_pipeline(reference, "NoSuchPipeline", MINI, DEFAULT, name="x")


@pytest.mark.parametrize("flag", ["cfg_mixin", "progress_bar"])
def test_an_older_target_is_refused(reference: SourceTree, flag: str) -> None:
    with pytest.raises(UnsupportedError, match=flag):
        values: dict[str, Any] = {flag: False}
        features = dataclasses.replace(DEFAULT, **values)
        analyse_pipeline(reference, "MiniPipeline", MINI, features, name="mini")


def test_own_formula_overrides_the_combination(reference: SourceTree) -> None:
    old = "noise_pred = negative_noise_pred + self.guidance_scale * (noise_pred - negative_noise_pred)"
    tree = changed(reference, old, "noise_pred = noise_pred + self.guidance_scale * (noise_pred - negative_noise_pred)")
    plan = analyse_pipeline(tree, "MiniPipeline", MINI, DEFAULT, name="mini")
    text = render_pipeline(tree, port("mini", plan, "MiniTransformer2DModel"), DEFAULT)
    assert "def combine_cfg_noise" in text
    assert "noise_pred + guidance_scale * (noise_pred - negative_noise_pred)" in text


@pytest.mark.parametrize(
    ("default", "expression"),
    [
        ("None", "params.num_inference_steps"),
        ("0", "params.num_inference_steps if params.num_inference_steps is not None else 0"),
        ("7", "params.num_inference_steps if params.num_inference_steps is not None else 7"),
    ],
)
def test_defaults_are_the_references_own(reference: SourceTree, default: str, expression: str) -> None:
    tree = changed(reference, "num_inference_steps: int = 20", f"num_inference_steps: int = {default}")
    plan = analyse_pipeline(tree, "MiniPipeline", MINI, DEFAULT, name="mini")
    assert {a.name: a.source for a in plan.arguments}["num_inference_steps"] == expression


def test_a_request_local_argument_forbids_batches(reference: SourceTree) -> None:
    tree = changed(reference, "time_shift: float = 1.0", "time_shift: float = 1.0, timesteps: list[int] = None")
    tree = changed(
        tree, "sigmas = time_shift *", "timesteps = timesteps or []\n        sigmas = len(timesteps) + time_shift *"
    )
    plan = analyse_pipeline(tree, "MiniPipeline", MINI, DEFAULT, name="mini")
    text = render_pipeline(tree, port("mini", plan, "MiniTransformer2DModel"), DEFAULT)
    assert values(plan)["request batch"] is False
    assert "supports_request_batch" not in text and "return [output]" in text


# ---------------------------------------------------------------------------------------------------- FLUX
def test_flux_arguments(flux: PipelinePlan) -> None:
    sources = {a.name: a.source for a in flux.arguments}
    assert sources["guidance_scale"] == "params.guidance_scale if params.guidance_scale_provided else 3.5"
    assert sources["num_inference_steps"].endswith("else 28")
    assert sources["true_cfg_scale"].endswith("is not None else 1.0")
    assert sources["max_sequence_length"].endswith("else 512")
    assert sources["height"] == "params.height" and sources["sigmas"] == "params.sigmas"
    assert sources["prompt_2"] == 'params.extra_args.get("prompt_2")'
    assert "prompt_embeds is not None" in sources["prompt"] and "or None" in sources["negative_prompt"]
    assert len(sources) == 19


def test_flux_drops(flux: PipelinePlan) -> None:
    assert names(flux, "argument") == {
        "ip_adapter_image",
        "ip_adapter_image_embeds",
        "negative_ip_adapter_image",
        "negative_ip_adapter_image_embeds",
        "return_dict",
        "joint_attention_kwargs",
        "callback_on_step_end",
        "callback_on_step_end_tensor_inputs",
    }
    assert names(flux, "component") == {"image_encoder", "feature_extractor"}
    assert {"encode_image", "prepare_ip_adapter_image_embeds", "interrupt"} <= names(flux, "method")
    assert {"encode_prompt.lora_scale", "check_inputs.callback_on_step_end_tensor_inputs"} <= names(flux, "parameter")


def test_flux_decisions(flux: PipelinePlan) -> None:
    found = values(flux)
    assert flux.cfg == "sequential" and found["guidance combine"] == "default"
    assert (found["guidance guard"], found["guidance scale"]) == ("do_true_cfg", "true_cfg_scale")
    assert found["scheduler step"] == "mixin" and found["request batch"] is True
    assert flux.transformer_attributes == ("in_channels", "guidance_embeds")
    assert flux.post_process == "get_flux_post_process_func"
    assert set(str(found["diffuse arguments"]).split(", ")) == {
        "timesteps",
        "latents",
        "guidance",
        "prompt_embeds",
        "pooled_prompt_embeds",
        "text_ids",
        "latent_image_ids",
        "do_true_cfg",
        "true_cfg_scale",
        "negative_prompt_embeds",
        "negative_pooled_prompt_embeds",
        "negative_text_ids",
    }


def test_flux_class(flux_text: str) -> None:
    tree = ast.parse(flux_text)
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef))
    assert [ast.unparse(b) for b in node.bases] == [
        "nn.Module",
        "CFGParallelMixin",
        "ProgressBarMixin",
        "DiffusionPipelineProfilerMixin",
        "SupportsComponentDiscovery",
    ]
    methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
    assert {"_get_t5_prompt_embeds", "_get_clip_prompt_embeds", "encode_prompt", "check_inputs"} <= set(methods)
    assert methods[0] == "__init__" and methods[-2:] == ["forward", "load_weights"] and "diffuse" in methods
    assert "__call__" not in methods


def test_flux_is_clean(flux_text: str) -> None:
    ruff("check", "--select=E,F,I,UP", text=flux_text)
    for gone in ("callback", "XLA", "interrupt", "ip_adapter", "lora", "_execution_device", "transformer.config"):
        assert gone not in flux_text, gone


def test_flux_unused_name_would_be_found(flux_text: str) -> None:
    """The cleanliness check can fail: an import that nothing uses is reported."""
    with pytest.raises(AssertionError):
        ruff("check", "--select=F", text=flux_text.replace("import os\n", "import os\nimport sys\n", 1))


# ---------------------------------------------------------------------------------------------------- other forms
def written(tree: SourceTree, index: Index = MINI) -> tuple[PipelinePlan, str]:
    plan = analyse_pipeline(tree, "MiniPipeline", index, DEFAULT, name="mini")
    return plan, formatted(render_pipeline(tree, port("mini", plan, "MiniTransformer2DModel"), DEFAULT))


def test_media_come_from_the_prompt(reference: SourceTree) -> None:
    tree = changed(reference, "time_shift: float = 1.0", "time_shift: float = 1.0, image: torch.Tensor = None")
    tree = changed(
        tree, "sigmas = time_shift *", "time_shift = time_shift if image is None else 2\n        sigmas = time_shift *"
    )
    plan, text = written(tree)
    assert {a.name: a.source for a in plan.arguments}["image"] == 'media.get("image")'
    assert values(plan)["media"] == "image" and values(plan)["request batch"] is False
    assert "support_image_input = True" in text and "SupportImageInput" in text
    assert 'media = prompt_data.get("multi_modal_data") or {}' in text
    assert "first_prompt = req.prompts[0]\n" in text and "prompts]" not in text
    given = 'first_prompt if isinstance(first_prompt, str) else first_prompt.get("prompt") or ""'
    assert given in " ".join(text.split())


def test_a_batch_has_no_first_prompt(reference: SourceTree) -> None:
    plan, text = written(reference)
    assert values(plan)["request batch"] is True and "first_prompt" not in text


def test_a_number_that_is_called_like_media_is_an_extra_argument(reference: SourceTree) -> None:
    tree = changed(reference, "time_shift: float = 1.0", "time_shift: float = 1.0, image_mask: float = 0.5")
    tree = changed(tree, "sigmas = time_shift *", "sigmas = image_mask * time_shift *")
    plan, text = written(tree)
    assert "extra_args" in {a.name: a.source for a in plan.arguments}["image_mask"] and "media" not in text


def test_settings_come_from_model_index(reference: SourceTree) -> None:
    old = "image_encoder: CLIPVisionModelWithProjection = None"
    tree = changed(reference, old, "ratio: float = 0.5, " + old)
    tree = changed(
        tree,
        "self.default_sample_size = 16",
        "self.register_to_config(ratio=ratio)\n        self.default_sample_size = 16",
    )
    tree = changed(tree, "sigmas = time_shift *", "sigmas = self.config.ratio * time_shift *")
    plan, text = written(tree)
    assert values(plan)["setting ratio"] == "0.5"
    assert 'self.ratio = model_index.get("ratio", 0.5)' in text and "self.ratio * time_shift" in text
    assert "register_to_config" not in text


def test_an_attribute_that_is_read_by_its_name_is_still_stored(reference: SourceTree) -> None:
    source = "self._guidance_scale = guidance_scale"
    read = "return self._guidance_scale"
    tree = changed(reference, read, 'return getattr(self, "_guidance_scale", 1.0)')
    assert source in written(tree)[1]
    assert source not in written(changed(reference, read, "return 1.0"))[1]


def test_what_the_constructor_makes_stays_below_its_condition(reference: SourceTree) -> None:
    old = "        self.register_modules("
    new = "        if scheduler.sturdy:\n            if vae is None:\n                vae = Vae()\n" + old
    tree = changed(reference, old, new.replace("Vae()", "MiniAutoencoder()"))
    text = written(tree, Index({**MINI.components, "vae": None}))[1]
    assert "        if self.scheduler.sturdy:\n            self.vae = MiniAutoencoder()\n" in text


@pytest.mark.parametrize(("persistent", "kept"), [("", True), (", persistent=False", False)])
def test_a_buffer_that_the_loader_drops_is_loaded_by_the_denoiser(
    reference: SourceTree, persistent: str, kept: bool
) -> None:
    module = reference.find_class("MiniTransformer2DModel", "models")
    other = SourceTree(reference.root, reference.version, dict(reference._modules))
    rotary = (
        "\n\nclass Rotary(nn.Module):\n    def __init__(self):\n"
        f'        self.register_buffer("inv_freq", torch.ones(4){persistent})\n'
        "\n\nclass Holder:\n    def __init__(self):\n        self.rotary_emb = Rotary()\n"
    )
    text = module.text + rotary
    other._modules[module.name] = SourceModule(module.name, module.path, module.file, text, module.is_package)
    plan, made = written(other)
    assert ("weights kept" in values(plan)) is kept
    assert ("self.transformer.load_weights(own)" in made) is kept
    assert ("AutoWeightsLoader(self)" in made) is not kept


def test_video_leaves_the_worker_as_a_tensor(reference: SourceTree) -> None:
    tree = changed(reference, "return MiniPipelineOutput(images=image)", "return MiniPipelineOutput(frames=image)")
    plan, text = written(tree)
    assert plan.output == "video" and '"payload": {"video"' in text


def test_post_processing_that_the_engine_cannot_do_stays(reference: SourceTree) -> None:
    tree = changed(reference, "do_resize=False)", "size=self.tokenizer.model_max_length)")
    plan, text = written(tree)
    found = values(plan)
    assert (plan.post_process is None) == ("post-processing" in found)


def test_post_processing_under_another_condition_stays(reference: SourceTree) -> None:
    text = reference.find_class("MiniPipeline", "pipelines").text
    line = next(n for n in text.splitlines() if "image_processor.postprocess(" in n)
    pad = " " * (len(line) - len(line.lstrip()))
    tree = changed(reference, line, f'{pad}if output_type != "pt":\n    {line}')
    plan, code = written(tree)
    assert plan.post_process is None and 'output_type != "pt"' in str(
        next(d.why.reason for d in plan.decisions if d.subject == "post-processing")
    )
    assert "self.image_processor.postprocess(" in code and "def get_mini_post_process_func" not in code


def test_a_kept_attention_argument_is_state(reference: SourceTree) -> None:
    tree = changed(reference, "self._joint_attention_kwargs = {}", "self._joint_attention_kwargs = {'mask': 1}")
    plan, _ = written(tree)
    assert "self._joint_attention_kwargs" not in names(plan, "value")


@pytest.mark.parametrize(
    ("name", "dotted", "role"),
    [
        ("transformer", "diffusers.models.transformers.transformer_flux.FluxTransformer2DModel", "dit"),
        ("unet", "diffusers.models.transformers.x.Y", "dit"),
        ("vae", "diffusers.models.autoencoders.autoencoder_kl.AutoencoderKL", "vae"),
        ("vqvae", "diffusers.models.autoencoders.vq_model.VQModel", "other"),
        ("text_encoder", "transformers.CLIPTextModel", "encoder"),
        ("tokenizer", "transformers.T5TokenizerFast", "tokenizer"),
        ("processor", "transformers.Qwen2VLProcessor", "processor"),
        ("feature_extractor", "transformers.CLIPImageProcessor", "processor"),
        ("scheduler", "diffusers.schedulers.x.FlowMatchEulerDiscreteScheduler", "scheduler"),
    ],
)
def test_roles(name: str, dotted: str, role: str) -> None:
    assert component_role(name, dotted) == role
