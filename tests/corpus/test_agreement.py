"""The agreement report: facts out of source text of each kind, and differences that must be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.corpus import oracles
from omniport.corpus.agreement import Layer, by_class, by_path, inferred
from omniport.plan.model import LinearPlan, Why
from omniport.source.tree import SourceTree

PLAN = """
class Net:
    _tp_plan = {
        "blocks.*.attn.to_q": "colwise",
        "blocks.*.attn.to_out.0": "rowwise",
        "blocks.*.ff.up": PackedColwiseParallel([1, 1]),
        "single.*.out": PackedRowwiseParallel(),
    }
"""
PLANNER = """
@TensorParallelismPlannerRegister.register("Net")
@TensorParallelismPlannerRegister.register("NetTransformer3D")
class Planner:
    def parallelize(self, transformer, mesh):
        for _, block in transformer.blocks.named_children():
            plan = {"attn.to_q": ColwiseParallel(), "attn.to_out.0": RowwiseParallel()}
            if block.norm is not None:
                plan["norm.linear"] = ColwiseParallel(output_layouts=Replicate())
        parallelize_module(module=transformer, parallelize_plan={"proj": ColwiseParallel(output_layouts=Replicate())})

@TensorParallelismPlannerRegister.register("Apart")
class Apart:
    def parallelize(self, transformer):
        def block_plan(block):
            plan = {"attn.to_q": ColwiseParallel()}
            plan["attn.to_k"] = ColwiseParallel()
            return plan

        for _, block in transformer.blocks.named_children():
            self.block_plan(block)
        for _, block in transformer.others.named_children():
            self.block_plan(block)

@ContextParallelismPlannerRegister.register("Other")
class NoPlanner:
    plan = {"x": ColwiseParallel()}
"""
PORT = """
class Attention(nn.Module):
    def __init__(self):
        self.to_qkv = QKVParallelLinear(hidden_size=4)
        self.to_out = nn.ModuleList([RowParallelLinear(4, 4), nn.Dropout(0.0)])
        self.norm = ColumnParallelLinear(4, 8, gather_output=True)
        self.gate = nn.Linear(4, 4) if gated else None
        self.count = len(x)
"""


def layer(path: str, role: str, *paths: str, fused: str | None = None) -> Layer:
    return Layer(LinearPlan(path, "column", fused, None, (), Why("because", "a.py", 3)), role, paths)


def test_facts_are_read_out_of_source_text(tmp_path: Path) -> None:
    assert oracles.declared_plan(PLAN, "Net") == {
        "blocks.*.attn.to_q": "column",
        "blocks.*.attn.to_out.0": "row",
        "blocks.*.ff.up": "column",
        "single.*.out": "row",
    }
    assert oracles.declared_plan(PLAN, "Other") == {}
    (tmp_path / "net.py").write_text(PLANNER)
    planned = oracles.planners(tmp_path)
    assert planned.keys() == {"Net", "NetTransformer3D", "Apart"}
    assert planned["Apart"].keys() == {f"{name}.*.attn.to_{q}" for name in ("blocks", "others") for q in "qk"}
    assert oracles.matching(planned, "NetTransformer3DModel") == {
        "blocks.*.attn.to_q": "column",
        "blocks.*.attn.to_out.0": "row",
        "blocks.*.norm.linear": "gathered",
        "proj": "gathered",
    }
    assert oracles.matching(planned, "Another") == {}
    assert oracles.layers(PORT) == {
        "Attention.to_qkv": "column",
        "Attention.to_out.0": "row",
        "Attention.norm": "gathered",
        "Attention.gate": "replicated",
    }


def test_a_difference_is_found_and_keeps_the_reason_of_the_port() -> None:
    facts = {"blocks.*.q": "column", "blocks.*.out": "row"}
    layers = [
        layer("A.q", "column", "blocks.*.q"),
        layer("A.out", "column", "blocks.*.out"),
        layer("A.mod", "gathered", "blocks.*.mod"),  # it names none: whole there
        layer("Root.proj", "column", "proj"),  # in no list that it speaks of
    ]
    alike, other = by_path("diffusers", facts, layers)
    assert alike == 1
    assert [(d.path, d.theirs, d.ours, d.reason) for d in other] == [
        ("A.out", "row", "column", "because"),
        ("A.mod", "replicated", "gathered", "because"),
    ]


def test_names_of_no_layer_say_nothing() -> None:
    assert by_path("cache-dit", {"blocks.*.attn.q": "column"}, [layer("A.q", "column", "blocks.*.q")]) == (0, [])


@pytest.mark.parametrize(("theirs", "alike"), [("column", 1), ("replicated", 0)])
def test_a_hand_written_port_is_met_by_class_and_attribute(theirs: str, alike: int) -> None:
    layers = [layer("A.to_q", "column", fused="to_qkv"), layer("B.to_q", "row")]
    found, other = by_class({"A.to_qkv": theirs}, layers)
    assert (found, [d.theirs for d in other]) == (alike, [theirs] * (1 - alike))


def test_flux_agrees_with_the_plan_that_diffusers_declares(diffusers: SourceTree) -> None:
    name = "FluxTransformer2DModel"
    source = (diffusers.root / "models/transformers/transformer_flux.py").read_text("utf-8")
    facts = oracles.declared_plan(source, name)
    alike, other = by_path("diffusers", facts, inferred(diffusers, name))
    assert alike >= len({path.split(".*.")[-1] for path in facts}) - 4
    assert {d.theirs for d in other} == {"replicated"} and {d.ours for d in other} == {"gathered"}
