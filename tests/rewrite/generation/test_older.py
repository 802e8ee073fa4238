"""What a tree lacks is taken back from a port in the newest form, and nothing else is."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

import libcst as cst
import pytest

from omniport.plan.model import AttentionPlan, Decision, FeaturePlan, SpEntry, Why
from omniport.rewrite.generation import older_pipeline, older_plan, older_transformer
from omniport.target.features import DEFAULT, TargetFeatures
from tests.support.ports import port_plan

PIPELINE = '''# Copyright

from vllm_omni.diffusion.request import resolve_video_num_frames
from vllm_omni.diffusion.worker.request_batch import DiffusionRequestBatch, split_diffusion_output_by_request


def get_post_process_func(od_config):
    processor = Processor()

    def post_process_func(video: torch.Tensor, sampling_params: OmniDiffusionSamplingParams | None = None):
        output_type = getattr(sampling_params, "output_type", None) or od_config.output_type
        if output_type == "latent":
            return video
        return {"payload": {"video": processor(video, output_type=output_type)}, "metadata": {}}

    return post_process_func


class ToyPipeline(nn.Module, CFGParallelMixin, SupportsComponentDiscovery):
    supports_request_batch = True
    _dit_modules: ClassVar[list[str]] = ["transformer"]
    _encoder_modules: ClassVar[list[str]] = []
    _vae_modules: ClassVar[list[str]] = ["vae"]
    other = 1

    def combine_cfg_noise(self, positive_noise_pred, negative_noise_pred, true_cfg_scale, cfg_normalize=False):
        return positive_noise_pred[0], negative_noise_pred[0]

    def diffuse(self, latents):
        noise = self.predict_noise_maybe_with_cfg(do_true_cfg=True, true_cfg_scale=1.0)
        return self.scheduler_step_maybe_with_cfg(noise, 0, latents, True)

    def _runs_together(self, req: DiffusionRequestBatch) -> bool:
        return req.num_reqs == 1

    def forward(self, req: DiffusionRequestBatch) -> list[DiffusionOutput]:
        """Generate the outputs of every request of the batch."""
        if not self._runs_together(req):
            return [self.forward(DiffusionRequestBatch([r])) for r in req.requests]
        params = req.sampling_params_list[0]
        embeds = req.collate_prompt_fields(req.prompts, "prompt_embeds", None)
        negative = [n for p in req.prompts if (n := req.get_prompt_field(p, "negative_prompt")) is not None] or None
        frames = resolve_video_num_frames(params.num_frames, default_num_frames=81, is_dummy_run=req.is_dummy_run())
        scale = params.guidance_scale if params.guidance_scale_provided else 6
        scale_2 = params.guidance_scale_2 if params.guidance_scale_2_provided else None
        generator = params.generator if req.num_reqs == 1 else req.collate_request_generators(1, None)
        latents = req.collate_request_tensors("latents", None)
        output = DiffusionOutput(output=self.diffuse(latents))
        return split_diffusion_output_by_request(output, req, num_outputs_per_prompt=1)
'''

TRANSFORMER = """
from vllm_omni.diffusion.cache.cachedit import CacheDiTAdapterConfig


class Block(nn.Module):
    def __init__(self, quant_config=None):
        self.attn = Attention(num_heads=2, causal=False, role="cross", skip_sequence_parallel=True)
        self.mod = Linear(quant_config=safe_quant_config(quant_config))


class Toy(nn.Module):
    _repeated_blocks = ["Block"]
    _layerwise_offload_blocks_attrs = ["blocks", "single_blocks"]
    _cache_dit_adapter_config = CacheDiTAdapterConfig(block_forward_patterns={})
    _hsdp_preserve_parameter_dtypes = True
"""


def lacking(**values: Any) -> TargetFeatures:
    return dataclasses.replace(DEFAULT, **values)


def test_the_newest_form_stays_byte_for_byte():
    assert older_pipeline(PIPELINE, DEFAULT) == (PIPELINE, ())
    assert older_transformer(TRANSFORMER, DEFAULT) == (TRANSFORMER, ())
    plan = port_plan()
    assert older_plan(plan, DEFAULT) == (plan, ())


def test_one_request_instead_of_a_batch():
    text, _ = older_pipeline(PIPELINE, lacking(request_batch=False))
    ast.parse(text)
    for gone in (
        "DiffusionRequestBatch]",
        "supports_request_batch",
        "_runs_together",
        "req.num_reqs",
        "req.collate",
        "params_list",
    ):
        assert gone not in text.partition("class ToyPipeline")[2], gone
    for there in (
        "def forward(self, req: OmniDiffusionRequest) -> DiffusionOutput:",
        '"""Generate the outputs of every prompt of the request."""',
        "params = req.sampling_params\n",
        'embeds = prompt_tensors(req.prompts, "prompt_embeds")',
        'prompt_field(p, "negative_prompt")',
        "generator = params.generator\n",
        "latents = params.latents\n",
        "        return output\n",
        "from vllm_omni.diffusion.request import OmniDiffusionRequest",
        "def prompt_field(",
    ):
        assert there in text, there


def test_the_fields_of_prompts():
    text, _ = older_pipeline(PIPELINE, lacking(request_batch=False))
    functions = [s for s in cst.parse_module(text).body if isinstance(s, cst.FunctionDef) and "prompt_" in s.name.value]
    names: dict[str, Any] = {}

    class torch:
        Tensor = list

        @staticmethod
        def stack(values: list[Any], dim: int) -> list[Any]:
            return values

    code = "from __future__ import annotations\n" + cst.Module(functions).code
    exec(code, {"torch": torch}, names)
    field, tensors = names["prompt_field"], eval("lambda n: n['prompt_tensors']")(names)
    tensors.__globals__.update(names)
    assert field("a cat", "x") is None
    assert field({"x": 1}, "x") == 1
    assert field({"additional_information": {"x": [2, 3]}}, "x") == 2
    assert field({"additional_information": None, "x": []}, "x") is None
    assert tensors(["a", {"y": 1}], "x") is None
    assert tensors([{"x": 1}, {"x": 2}], "x") == [1, 2]
    with pytest.raises(ValueError, match="some have not"):
        tensors([{"x": 1}, "a"], "x")


@pytest.mark.parametrize(
    ("dummy", "expected"),
    [
        (True, "frames = params.num_frames if params.num_frames != 1 or req.is_dummy_run() else 81"),
        (False, "frames = params.num_frames if params.num_frames != 1 else 81"),
    ],
)
def test_the_number_of_frames(dummy: bool, expected: str):
    text, notes = older_pipeline(PIPELINE, lacking(resolve_frames=False, dummy_run=dummy))
    assert f"{expected}\n" in text
    assert any("warm-up" in note for note in notes) is not dummy


def test_guidance_scales():
    text, notes = older_pipeline(PIPELINE, lacking(second_scale=False))
    assert "params.guidance_scale_2 if (params.guidance_scale_2 != params.guidance_scale) else None" in text
    assert not notes
    text, notes = older_pipeline(PIPELINE, lacking(guidance_none=False))
    assert "params.guidance_scale if params.guidance_scale_provided else 6" in text
    assert "guidance_scale 0" in notes[0]


def test_post_processing():
    text, notes = older_pipeline(PIPELINE, lacking(post_process_payload=False))
    assert "return processor(video, output_type=output_type)\n" in text and not notes
    text, notes = older_pipeline(PIPELINE, lacking(post_process_payload=False, post_process_params=False))
    assert "def post_process_func(video: torch.Tensor):" in text
    assert "output_type = od_config.output_type\n" in text
    assert "engine's output type" in notes[0]


def test_components():
    text, _ = older_pipeline(PIPELINE, lacking(component_protocol=""))
    assert "_modules" not in text and "other = 1" in text


class _Mixin:
    """A mixin of the old kind, which hands predictions to the first rank alone."""

    transformer: Any

    def predict_noise(self, **kwargs: Any) -> Any:
        return self.transformer(**kwargs)

    def scheduler_step(self, noise: Any, t: int, latents: int) -> Any:
        return noise, latents


class _Group:
    """A group of two ranks that has the other rank's prediction at hand."""

    def __init__(self, other: int) -> None:
        self.other = other

    def all_gather(self, value: int, separate_tensors: bool) -> list[int]:
        assert separate_tensors
        return [value, self.other] if _RANK == 0 else [self.other, value]


_RANK = 0


@pytest.mark.parametrize(("rank", "ranks"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("several", [False, True])
def test_every_rank_gets_both_predictions(rank: int, ranks: int, several: bool):
    global _RANK
    _RANK = rank
    text, _ = older_pipeline(PIPELINE, lacking(cfg_all_ranks=False))
    (node,) = [s for s in cst.parse_module(text).body if isinstance(s, cst.ClassDef)]
    keep = ("predict_noise_maybe_with_cfg", "scheduler_step_maybe_with_cfg", "combine_cfg_noise")
    body = [s for s in node.body.body if isinstance(s, cst.FunctionDef) and s.name.value in keep]
    calls: list[dict[str, Any]] = []
    names: dict[str, Any] = {
        "get_cfg_group": lambda: _Group(20 if rank == 0 else 10),
        "get_classifier_free_guidance_rank": lambda: rank,
        "get_classifier_free_guidance_world_size": lambda: ranks,
    }
    exec("class Own:\n" + "\n".join("    " + line for line in cst.Module(body).code.splitlines()), names)
    pipeline = type("Pipeline", (names["Own"], _Mixin), {})()

    def transformer(**kwargs: Any) -> Any:
        calls.append(kwargs)
        return (kwargs["x"],) if several else kwargs["x"]

    pipeline.transformer = transformer
    both = pipeline.predict_noise_maybe_with_cfg(True, 3.0, {"x": 10}, {"x": 20})
    assert both == (((10,), (20,)) if several else (10, 20))
    assert len(calls) == (2 if ranks == 1 else 1)
    assert pipeline.predict_noise_maybe_with_cfg(False, 3.0, {"x": 10}, None) == ((10,) if several else 10)
    assert pipeline.scheduler_step_maybe_with_cfg("noise", 0, 7, True) == ("noise", 7)


def test_attention_arguments():
    text, _ = older_transformer(TRANSFORMER, lacking(attn_role=False))
    assert "Attention(num_heads=2, causal=False, skip_sequence_parallel=True)" in text
    text, _ = older_transformer(TRANSFORMER, lacking(attn_role=False, attn_skip_sp=False))
    assert "Attention(num_heads=2, causal=False, )" in text or "Attention(num_heads=2, causal=False)" in text
    ast.parse(text)


def test_declarations():
    text, notes = older_transformer(TRANSFORMER, lacking(offload_attr="string"))
    assert '_layerwise_offload_blocks_attr = "blocks"\n' in text and "single_blocks" in notes[0]
    assert "_layerwise_offload" not in older_transformer(TRANSFORMER, lacking(offload_attr=""))[0]
    text, _ = older_transformer(TRANSFORMER, lacking(safe_quant=False, hsdp_preserve_dtypes=False))
    assert "quant_config=quant_config)" in text and "_hsdp_preserve" not in text


def test_where_the_cache_is_declared():
    file = "vllm_omni.diffusion.cache.cache_dit_backend"
    text, _ = older_transformer(TRANSFORMER, lacking(cachedit_module=file))
    assert f"from {file} import CacheDiTAdapterConfig" in text
    assert "_cache_dit_adapter_config" not in older_transformer(TRANSFORMER, lacking(cachedit_module=""))[0]


WHY = Why("it is so")


def test_features_that_the_tree_cannot_have():
    plan = port_plan()
    entry = SpEntry("proj_out", 0, "gather", 1, 3, False, False, WHY, "hidden_states")
    attention = AttentionPlan("Toy", "2", "2", "8", "1.0", False, "self", WHY, True, ("hidden_states",))
    transformer = dataclasses.replace(
        plan.transformer,
        sp=(entry,),
        attentions=(attention,),
        features=(FeaturePlan("sequence parallelism", True, WHY), FeaturePlan("hsdp", True, WHY)),
        decisions=(Decision("kept in float32", "norm", WHY),),
    )
    plan = dataclasses.replace(plan, transformer=transformer)
    old, notes = older_plan(plan, lacking(sp_shard_group=False))
    assert not old.transformer.sp and old.transformer.region is None
    assert not old.transformer.attentions[0].streams and not old.transformer.attentions[0].local
    assert [f.supported for f in old.transformer.features] == [False, True]
    assert "sequence parallelism is left out" in notes[0]
    assert older_plan(plan, DEFAULT) == (plan, ())
