"""The readable plan shows every decision with its reason and its source line."""

from __future__ import annotations

import dataclasses
import io
import re

from rich.console import Console

from omniport.plan.model import (
    ArgumentPlan,
    AttentionPlan,
    BlockListPlan,
    ClassPlan,
    ComponentPlan,
    Decision,
    FeaturePlan,
    LinearPlan,
    ModelPlan,
    PipelinePlan,
    PortPlan,
    SpEntry,
    TransformerPlan,
    WeightPlan,
    Why,
)
from omniport.report.parts import place
from omniport.report.plan import render

LINES = iter(range(1, 1000))


def why(reason: str) -> Why:
    return Why(f"{reason} [reason]", "pkg/file.py", next(LINES))


PLAN = PortPlan(
    name="toy",
    model=ModelPlan(
        model="org/toy",
        form="hub",
        revision="abc123",
        pipeline_class="ToyPipeline",
        path="path A",
        source="diffusers 0.40.0",
        components=(ComponentPlan("vae", "diffusers", "AutoencoderKL", "vae", why("component")),),
        why=(why("classification"),),
        follows="port it",
    ),
    transformer=TransformerPlan(
        class_name="ToyTransformer",
        module="diffusers.models.toy",
        parameters=("dim",),
        forward=("hidden_states",),
        dropped=(Decision("controlnet", None, why("dropped")),),
        classes=(
            ClassPlan("ToyAttention", "pkg.Attention", (Decision("bias", True, why("binding")),), (), why("class")),
        ),
        linears=(
            LinearPlan("ToyAttention.to_q", "qkv", "to_qkv", "q", (), why("qkv")),
            LinearPlan("ToyBlock.proj_out", "row", None, None, ("dim", "mlp"), why("row")),
        ),
        attentions=(
            AttentionPlan("ToyAttention", "heads", "kv", "head_dim", "scale", False, "joint", why("attention")),
        ),
        weights=(WeightPlan("to_qkv.weight", "to_q.weight", "q"),),
        sp=(SpEntry("prepare", 0, "split", 1, 3, True, True, why("sp")),),
        blocks=(BlockListPlan("blocks", "ToyBlock", None, why("blocks")),),
        features=(FeaturePlan("hsdp", False, why("feature")),),
        decisions=(Decision("rope", "half", why("decision")),),
    ),
    pipeline=PipelinePlan(
        class_name="ToyPipeline",
        module="diffusers.pipelines.toy",
        output="image",
        arguments=(ArgumentPlan("guidance_scale", "sampling.guidance_scale", "3.5", why("argument")),),
        dropped=(Decision("callback", None, why("removed")),),
        cfg="sequential",
        transformer_attributes=("in_channels",),
        post_process="get_toy_post_process_func",
        pre_process=None,
        decisions=(Decision("timestep dtype", "float32", why("pipeline decision")),),
    ),
    todos=(Decision("mask", None, why("todo")),),
)


def reasons(value: object) -> list[Why]:
    """Every reason that a plan holds."""
    if isinstance(value, Why):
        return [value]
    if dataclasses.is_dataclass(value):
        return [w for f in dataclasses.fields(value) for w in reasons(getattr(value, f.name))]
    return [w for v in value for w in reasons(v)] if isinstance(value, tuple) else []


def rendered(plan: PortPlan, **options: object) -> str:
    out = io.StringIO()
    render(plan, Console(file=out, **options))  # type: ignore[arg-type]
    return out.getvalue()


def test_every_reason_is_on_one_line_with_its_place() -> None:
    lines = rendered(PLAN).splitlines()
    shown = [w for w in reasons(PLAN) if not w.reason.startswith("binding")]
    assert len(shown) == 15
    for w in shown:
        assert [line for line in lines if f"{w.reason}  {w.file}:{w.line}" in line], w
    assert all(line == line.rstrip() for line in lines)


def test_what_was_decided_is_shown() -> None:
    text = rendered(PLAN)
    for part in (
        "to_qkv[q]",
        "dim + mlp",
        "input sharded, one all-reduce",
        "split of the output",
        "none fits",
        "bias=True",
    ):
        assert part in text
    for part in ("org/toy", "abc123", "path A", "diffusers.AutoencoderKL", "sampling.guidance_scale", "in_channels"):
        assert part in text
    assert "Left for a human (TODO) (1)" in text and "Nothing is left" not in text


def test_the_last_line_is_the_command_that_comes_next() -> None:
    assert rendered(PLAN).splitlines()[-1] == "next: omniport scaffold org/toy --into TREE"
    out = io.StringIO()
    render(PLAN, Console(file=out), ["--source", "a b", "--into", "tree"])
    assert out.getvalue().splitlines()[-1] == "next: omniport scaffold org/toy --source 'a b' --into tree"
    served = dataclasses.replace(PLAN, model=dataclasses.replace(PLAN.model, path="already supported"))
    assert rendered(served).splitlines()[-1].endswith("--into TREE --name NAME --force")


def test_a_plan_without_open_points_says_so() -> None:
    assert "Nothing is left for a human." in rendered(dataclasses.replace(PLAN, todos=()))


def test_a_terminal_gets_colours_and_folded_lines() -> None:
    text = rendered(PLAN, force_terminal=True, width=60, color_system="standard")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines()) <= 60
    assert "\x1b" not in rendered(PLAN)


def test_place() -> None:
    assert place(Why("r", "a.py", 3)) == "a.py:3"
    assert place(Why("r", "model_index.json")) == "model_index.json"
    assert place(Why("r")) == ""
