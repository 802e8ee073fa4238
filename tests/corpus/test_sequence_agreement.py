"""The page that compares sequence parallelism with plans written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omniport.analyse.parallel import plan_parallel
from omniport.corpus import sequence_oracles as oracles
from omniport.corpus.sequence_agreement import Row, page, reason, split_here
from omniport.plan.model import FeaturePlan, Why
from tests.support.normal import CANVAS, normal_form, transformer_plan

PLAN = """
class Net:
    _cp_plan = {
        "": {
            "hidden_states": ContextParallelInput(split_dim=1, expected_dims=3),
            "timestep": ContextParallelInput(split_dim=1, expected_dims=2),
        },
        "rope": {0: ContextParallelInput(split_dim=1, expected_dims=3, split_output=True)},
        "context_in": {0: [ContextParallelInput(split_dim=1, expected_dims=3)]},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
    }
"""


def test_a_plan_is_read_by_what_it_splits() -> None:
    assert oracles.declared(PLAN, "Net", "_cp_plan") == {"tokens", "text", "tables", "times"}
    assert oracles.declared(PLAN, "Net", "_sp_plan") == set() and oracles.declared(PLAN, "Other", "_cp_plan") == set()


@pytest.mark.parametrize(
    ("name", "dims", "found"),
    [
        ("hidden_states", 3, "tokens"),
        ("encoder_hidden_states", 3, "text"),
        ("encoder_hidden_states_mask", 2, "tables"),
        ("txt_ids", 2, "tables"),
        ("image_rotary_emb", None, "tables"),
        ("temb", 3, "times"),
    ],
)
def test_kinds(name: str, dims: int | None, found: str) -> None:
    assert oracles.kind(name, dims) == found


@pytest.mark.parametrize(
    ("module", "dims", "found"),
    [
        ("image_rope_prepare", 3, "tokens"),
        ("rope", 3, "tables"),
        ("rope_prepare", 2, "tables"),
        ("time_in", 2, "times"),
    ],
)
def test_kinds_of_outputs(module: str, dims: int, found: str) -> None:
    assert oracles.of_output(module, dims) == found


def test_planners_are_found_by_the_longest_prefix(tmp_path: Path) -> None:
    text = '@ContextParallelismPlannerRegister.register("{}")\nclass P:\n    def _apply(self):\n        _cp_plan = {}\n'
    entry = '{"": {"' + "{}" + '": _ContextParallelInput(split_dim=1, expected_dims=3)}}'
    for name, split in (("Wan", "hidden_states"), ("WanVACE", "encoder_hidden_states")):
        (tmp_path / f"{name}.py").write_text(text.format(name, entry.replace("{}", split)))
    found = oracles.planners(tmp_path)
    assert oracles.matching(found, "WanVACETransformer3DModel") == {"text"}
    assert oracles.matching(found, "WanTransformer3DModel") == {"tokens"}
    assert oracles.matching(found, "Flux") == set()


def test_differences_have_reasons() -> None:
    normal = normal_form(CANVAS, "CanvasTransformer")
    plan = transformer_plan(normal, plan_parallel(normal))
    assert split_here(plan) == {"tokens"}
    assert reason(plan, {"diffusers": frozenset({"tokens", "tables"})}) == ""
    assert "keys alone" in reason(plan, {"diffusers": frozenset({"tokens", "text"})})
    refused = FeaturePlan("sequence parallelism", False, Why("mixes tokens", "a/own.py", 7))
    without = replace(plan, region=None, features=(refused,))
    assert reason(without, {"diffusers": frozenset({"tokens"})}) == "refused: mixes tokens (own.py:7)"


def test_the_page_counts_what_agrees() -> None:
    both, one = frozenset({"tokens", "text"}), frozenset({"tokens", "tables"})
    found = [Row("A", both, {"diffusers": both}, ""), Row("B", one, {"diffusers": both, "cache-dit": one}, "why not")]
    text = "\n".join(page(found))
    assert "- diffusers: 1 of 2 plans" in text and "- cache-dit: 1 of 1 plans" in text
    assert "- vLLM-Omni: 0 of 0 plans" in text
    assert "| B | tokens, tables | tokens, text | tokens, tables |  | why not |" in text
