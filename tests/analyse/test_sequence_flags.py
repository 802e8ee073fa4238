"""Boolean parameters that switch what comes in."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.flags import flags_of
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence_classes import reason, region
from tests.analyse.test_tp import ATTEND, QKV
from tests.support.normal import block_model, normal_form


def forced(scale: str = "temb if temb.ndim == 3 else temb[:, None]", annotation: str = "bool") -> ParallelPlan:
    """A model that is given a number for each sample, or one for each token if it is told so."""
    block = f"x = x + ({scale})\n" + textwrap.dedent(ATTEND)
    text = block_model(QKV, block, params=f", timestep, forcing: {annotation} = False").code
    start = "        context = self.context_in(encoder_hidden_states)\n"
    lines = """
        temb = self.proj_in(pooled_projections)
        if forcing:
            samples, rows = timestep.shape
            temb = temb[:, None] + x
    """
    text = text.replace(start, textwrap.indent(textwrap.dedent(lines), "        ") + "\n" + start)
    return plan_parallel(normal_form(text.replace("block(x, pooled_projections,", "block(x, temb,"), "Root"))


def test_either_setting_is_walked_by_itself() -> None:
    found = forced().region
    assert found is not None and {t.variable: t.rank for t in found.split} == {"x": None, "temb": 3}


def test_a_parameter_that_is_no_flag_tells_nothing() -> None:
    """The twin: what may be anything is not walked by its values, and the two ranks meet."""
    assert forced(annotation="float").region is None


def test_tokens_that_one_setting_mixes_are_refused() -> None:
    found = forced("temb.flip(1) if temb.ndim == 3 else temb[:, None]")
    assert found.region is None and "one entry for each token" in reason(found)


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        ("if flag:\n    a, b = x.shape", {"flag": {"x"}}),
        ("if flag:\n    x = x * 2", {}),  # the same shapes either way
        ("if flag:\n    a, b = y.shape", {}),  # of no parameter
        ("if number:\n    a, b = x.shape", {}),  # no flag
        ("if not flag:\n    a, b = x.shape", {}),
        ("a, b = x.shape", {}),
    ],
)
def test_flags_are_those_that_take_shapes_apart(body: str, flags: dict[str, set[str]]) -> None:
    (forward,) = ast.parse(f"def forward(self, x, flag: bool, number: int):\n{textwrap.indent(body, '    ')}").body
    assert isinstance(forward, ast.FunctionDef) and flags_of(forward) == flags


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    found = region(diffusers, "SkyReelsV2Transformer3DModel")
    assert {t.variable: t.rank for t in found.split if t.rank} == {"temb": 3, "timestep_proj": 4}
    assert [(m.variable, m.dim) for m in found.masks] == [("causal_mask", 2), ("causal_mask", 3)]
