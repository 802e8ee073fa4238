"""The summary of a plan: what is alike in one row, what is left, and nothing that only the whole plan has room for."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from omniport.plan.model import ConvPlan, LinearPlan, PortPlan, SpRegion, SpTensor, Why
from omniport.report.plan_summary import places, render
from tests.report.test_plan_report import PLAN


def linear(path: str, role: str, line: int, fused: str | None = None) -> LinearPlan:
    return LinearPlan(path, role, fused, None, (), Why("a reason", "pkg/model.py", line))  # type: ignore[arg-type]


LINEARS = (
    linear("ToyAttention.to_q", "qkv", 7, "to_qkv"),
    linear("ToyAttention.to_k", "qkv", 8, "to_qkv"),
    linear("ToyAttention.to_out.0", "row", 9),
    linear("ToyAttention.to_v", "qkv", 11, "to_qkv"),
    linear("ToyBlock.to_v", "qkv", 12, "to_qkv"),
)


def planned(**changes: object) -> PortPlan:
    return dataclasses.replace(PLAN, transformer=dataclasses.replace(PLAN.transformer, **changes))


def lines(plan: PortPlan, *given: str) -> list[str]:
    out = io.StringIO()
    render(plan, Console(file=out), given)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_linears_of_a_class_that_become_the_same_stand_in_one_row() -> None:
    shown = lines(planned(linears=LINEARS))
    assert "Linears (3)" in shown
    assert "ToyAttention to_q, to_k, to_v to_qkv (qkv) fused, sharded by heads model.py:7-8,11" in shown
    assert "ToyAttention to_out.0 row input sharded, one all-reduce model.py:9" in shown
    assert "ToyBlock to_v to_qkv (qkv) fused, sharded by heads model.py:12" in shown


def test_tensors_that_are_split_are_named_once() -> None:
    def tensor(name: str) -> SpTensor:
        return SpTensor(name, None, 1, 3, ("x",), False)

    split = (tensor("hidden_states"), tensor("rope"), tensor("rope"))
    region = SpRegion(3, 9, split, (tensor("output"),), (), (), Why("here"))
    line = PLAN.transformer.sp[0].why.line
    assert f"split hidden_states, rope file.py:{line}" in lines(planned(region=region))
    assert not [row for row in lines(planned(region=region)) if row.startswith("gather")], "nothing is gathered"
    assert f"split prepare[0] file.py:{line}" in lines(planned(region=None))


def test_convolutions_are_shown_where_there_are_some() -> None:
    convs = (ConvPlan("ToyBlock.conv", "depthwise", 1, Why("a reason", "pkg/model.py", 5)),)
    assert "ToyBlock.conv depthwise model.py:5" in lines(planned(convs=convs))
    assert not [row for row in lines(PLAN) if row.startswith("Convolutions")]


def test_a_missing_feature_says_why_and_the_others_are_a_list() -> None:
    (feature,) = PLAN.transformer.features
    features = (feature, dataclasses.replace(feature, name="compile", supported=True))
    shown = lines(planned(features=features))
    assert f"no hsdp: feature [reason] pkg/file.py:{feature.why.line}" in shown
    assert "yes compile" in shown


def test_what_is_left_and_the_next_command_come_last() -> None:
    shown = lines(PLAN, "--source", "a b")
    assert "Left for a human (TODO) (1)" in shown and "Nothing is left for a human." not in shown
    assert shown[-1] == "next: omniport scaffold org/toy --source 'a b' --into TREE"
    assert "Nothing is left for a human." in lines(dataclasses.replace(PLAN, todos=()))


def test_components_that_the_model_lacks_and_dropped_arguments() -> None:
    vae = PLAN.model.components[0]
    model = dataclasses.replace(PLAN.model, components=(vae, dataclasses.replace(vae, name="extra", role="absent")))
    pipeline = dataclasses.replace(
        PLAN.pipeline,
        dropped=tuple(
            dataclasses.replace(d, subject=s)
            for d in PLAN.pipeline.dropped
            for s in ("argument callback", "method interrupt")
        ),
    )
    shown = lines(dataclasses.replace(PLAN, model=model, pipeline=pipeline))
    assert "components vae AutoencoderKL" in shown
    assert "left out callback" in shown
    assert "from the request guidance_scale" in shown


def test_places() -> None:
    assert places([Why("r", "a/x.py", 3), Why("r", "b/y.py", 1), Why("r", "a/x.py", 4)]) == "x.py:3-4, y.py:1"
    assert places([Why("r", "a/x.py", 3), Why("r", "a/x.py", 3), Why("r", "a/x.py", 5)]) == "x.py:3,5"
    assert places([Why("r")]) == ""
