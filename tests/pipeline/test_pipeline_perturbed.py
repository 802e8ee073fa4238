"""Perturbed attention guidance: what is known of the reference, a call of its own, one call of the mixin for all."""

from __future__ import annotations

import ast
import textwrap

import libcst as cst
import pytest

from omniport.analyse import pipeline_perturbed
from omniport.analyse.demand import demand_of
from omniport.analyse.foreseen import foreseen_demand
from omniport.analyse.pipeline_perturbed import perturbation, with_parameter
from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import guided, split
from omniport.rewrite.pipeline.module import render_pipeline
from omniport.rewrite.pipeline.perturbed import with_own_call
from omniport.source.tree import SourceTree
from omniport.target.features import DEFAULT
from tests.pipeline.helpers import function, port, text
from tests.pipeline.test_pipeline_demand import plan_of

PIPELINES = {
    "HunyuanDiTPAGPipeline": ("HunyuanDiT2DModel", "value", ()),
    "PixArtSigmaPAGPipeline": ("PixArtTransformer2DModel", "value", ()),
    "SanaPAGPipeline": ("SanaTransformer2DModel", "value", ("qk_norm",)),
    "StableDiffusion3PAGImg2ImgPipeline": ("SD3Transformer2DModel", "context", ("qk_norm",)),
    "StableDiffusion3PAGPipeline": ("SD3Transformer2DModel", "context", ("qk_norm",)),
}


# ------------------------------------------------------------------------------------------------------- the reference
@pytest.mark.parametrize("name", PIPELINES)
def test_what_processors_do_is_read_off_them(diffusers: SourceTree, name: str) -> None:
    model, kind, without = PIPELINES[name]
    module = diffusers.exported_class(name, "pipelines")
    denoiser = diffusers.exported_class(model, "models").class_def(model)
    found = perturbation(diffusers, module, module.class_def(name), denoiser)
    assert found is not None and (found.kind, found.without) == (kind, without)
    assert ast.literal_eval(found.layers) in ("blocks.1", "transformer_blocks.0")


def test_other_pipelines_perturb_nothing(diffusers: SourceTree) -> None:
    module = diffusers.exported_class("SanaPipeline", "pipelines")
    model = diffusers.exported_class("SanaTransformer2DModel", "models").class_def("SanaTransformer2DModel")
    assert perturbation(diffusers, module, module.class_def("SanaPipeline"), model) is None


def test_a_mixin_that_guides_otherwise_is_refused(diffusers: SourceTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_perturbed, "_KNOWN", "another")
    with pytest.raises(UnsupportedError, match="guides in another way"):
        plan_of(diffusers, "SanaPAGPipeline")


@pytest.mark.parametrize("name", PIPELINES)
def test_the_demand_is_foreseen(diffusers: SourceTree, name: str) -> None:
    model, kind, without = PIPELINES[name]
    denoiser = diffusers.exported_class(model, "models").class_def(model)
    asked = demand_of(plan_of(diffusers, name))
    assert asked.perturbed == kind and asked.without == frozenset(without)
    assert foreseen_demand(diffusers, name, ["transformer"], denoiser) == asked


def test_the_layers_become_a_parameter_of_the_call() -> None:
    (call,) = ast.parse("def __call__(self, prompt, n=1, **more):\n    return prompt\n").body
    assert isinstance(call, ast.FunctionDef)
    made = with_parameter(call, "pag_applied_layers", "'blocks.1'")
    assert ast.unparse(made.args) == "self, prompt, n=1, pag_applied_layers: str | list[str]='blocks.1', **more"
    assert "pag_applied_layers" not in ast.unparse(call)


# ---------------------------------------------------------------------------------------------------- a call of its own
INIT = """
def __init__(self, transformer, scheduler, pag_applied_layers="blocks.1"):
    self.register_modules(transformer=transformer, scheduler=scheduler)
    self.set_pag_applied_layers(pag_applied_layers)
"""

CALL = """
do_cfg = guidance_scale > 1.0
if self.do_perturbed_attention_guidance:
    cond = self._prepare_perturbed_attention_guidance(cond, negative_cond, do_cfg)
    style = torch.cat([style] * 3, dim=0)
elif do_cfg:
    cond = torch.cat([negative_cond, cond], dim=0)
    style = torch.cat([style] * 2, dim=0)
if self.do_perturbed_attention_guidance:
    original_attn_proc = self.transformer.attn_processors
    self._set_pag_attn_processor(pag_applied_layers=self.pag_applied_layers, do_classifier_free_guidance=do_cfg)
for t in ts:
    inputs = torch.cat([x] * (cond.shape[0] // x.shape[0]))
    pred = self.transformer(inputs, cond=cond, style=style, return_dict=False)[0]
    pred = pred.float()
    if self.do_perturbed_attention_guidance:
        pred = self._apply_perturbed_attention_guidance(pred, do_cfg, guidance_scale, t)
    elif do_cfg:
        uncond, pos = pred.chunk(2)
        pred = uncond + guidance_scale * (pos - uncond)
    x = self.scheduler.step(pred, t, x, return_dict=False)[0]
if self.do_perturbed_attention_guidance:
    self.transformer.set_attn_processor(original_attn_proc)
return x
"""
HEAD = "def __call__(self, x, ts, cond, negative_cond, style, guidance_scale, pag_scale=3.0, pag_adaptive_scale=0.0):\n"
ONE = Denoisers((("self.transformer", ("x", "cond", "style", "return_dict")),))


def apart(call: str = CALL, head: str = HEAD) -> dict[str, cst.FunctionDef]:
    source = head + textwrap.indent(call, "    ")
    return with_own_call(
        {"__init__": function(INIT), "__call__": function(source)}, "__call__", "'blocks.1'", "pipeline.py"
    )


def test_the_perturbed_side_is_a_call_of_its_own() -> None:
    methods = apart()
    found = text([methods["__call__"]])
    assert "set_pag_applied_layers" not in text([methods["__init__"]])
    assert "blocks = self.transformer.find_perturbed_blocks(pag_applied_layers) if pag_scale > 0 else []" in found
    assert "attn_proc" not in found and "_perturbed_attention_guidance" not in found and "* 3" not in found
    assert "inputs = torch.cat([x] * 2) if do_cfg else x" in found
    assert "style=style, return_dict=False, perturbed_blocks=perturbed_blocks)[0]" in found
    assert found.count("noise_pred_perturb = noise_pred_perturb.float()") == 1
    assert "pag_applied_layers: str | list[str] = 'blocks.1'" in found


def test_the_three_predictions_are_one_call_of_the_mixin() -> None:
    methods = apart()
    entry = split(methods["__call__"], (), ONE, ("pipeline.py", 1))
    form = guided(entry, ONE)
    found = text([form.entry])
    compile(found, "port", "exec")
    (pair,) = form.pairs
    assert pair.third and not form.single and "self.transformer(" not in found
    assert "branches = [positive_kwargs]" in found
    assert 'branches.append({**positive_kwargs, "perturbed_blocks": perturbed_blocks})' in found
    assert "predict_noise_with_multi_branch_cfg" in found and "predict_noise_maybe_with_cfg" not in found
    assert "noise_pred_perturb = predictions[-1]" in found and "style = torch.cat" not in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("guidance(cond, negative_cond", "guidance(cond, other"),
        ("torch.cat([style] * 3", "torch.cat([style] * 4"),
        ("    style = torch.cat([style] * 2, dim=0)\n", ""),  # sides that one branch alone has
        ("uncond + guidance_scale * (pos - uncond)", "pos + guidance_scale * (pos - uncond)"),
        ("guidance_scale * (pos - uncond)", "other * (pos - uncond)"),
        ("uncond, pos = pred.chunk(2)", "pos, uncond = pred.chunk(2)"),
        ("guidance(pred, do_cfg, guidance_scale, t)", "guidance(pred, True, guidance_scale, t)"),
        ("torch.cat([x] * (cond.shape[0] // x.shape[0]))", "torch.cat([x] * 3)"),
        ("    self.transformer.set_attn_processor(original_attn_proc)\n", "    keep(original_attn_proc)\n"),
        ("return x\n", "return x if self.do_perturbed_attention_guidance else None\n"),
        ("do_cfg = guidance_scale > 1.0\n", "do_cfg = True\nself._set_pag_attn_processor([], do_cfg)\n"),
    ],
)  # fmt: skip
def test_calls_that_guide_otherwise_are_refused(old: str, new: str) -> None:
    assert CALL.count(old) == 1
    with pytest.raises(UnsupportedError):
        apart(CALL.replace(old, new))


def test_a_call_without_the_scales_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="as others do"):
        apart(head=HEAD.replace("pag_scale=3.0, ", ""))


def test_a_third_prediction_that_reads_the_first_stays_behind_it() -> None:
    methods = apart(CALL.replace("    x = self.scheduler", "    x = pred\n    x = self.scheduler"))
    entry = split(methods["__call__"], (), ONE, ("pipeline.py", 1))
    changed = text([entry]).replace("perturbed_blocks=perturbed_blocks)", "perturbed_blocks=pred)")
    form = guided(function(changed), ONE)
    assert form.single == 1 and not any(pair.third for pair in form.pairs)


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_render(diffusers: SourceTree, name: str) -> None:
    found = render_pipeline(diffusers, port("x", plan_of(diffusers, name), PIPELINES[name][0]), DEFAULT)
    compile(found, name, "exec")
    assert 'params.extra_args.get("pag_applied_layers", ' in found and "combine_multi_branch_cfg_noise" in found
    assert "def combine_cfg_noise" not in found and "attn_processor" not in found
