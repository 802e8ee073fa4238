"""Settings with a few values, flags that a tensor holds, and axes that only some of the values have."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import plan_parallel
from omniport.plan.model import SpRegion
from omniport.source.tree import SourceTree
from tests.analyse.test_sequence import model, reason
from tests.analyse.test_sequence_classes import region
from tests.analyse.test_sequence_operations import LINES
from tests.support.normal import normal_form


def with_tables(wide: str, closed: str = 'if layout not in ["plain", "wide"]:') -> SpRegion | None:
    """Tables [batch, tokens, width], or what ``wide`` makes of them where the layout is wide."""
    change = 'if self.layout == "plain":\n    x = x + temb\nelse:\n    x = x + temb.sum(1)\n'
    text = model(change + LINES, before="rows = self.table(x)").replace(
        "x, pooled_projections, context", "x, rows, context"
    )
    text = text.replace(
        "Block(heads * head_dim, heads, head_dim)", "Block(heads * head_dim, heads, head_dim, layout)"
    ).replace("depth: int = 2", 'depth: int = 2, layout: str = "plain"')
    text = text.replace("dim: int, heads: int, head_dim: int)", "dim: int, heads: int, head_dim: int, layout: str)")
    text = text.replace("self.to_q =", "self.layout = layout\n        self.to_q =", 1)
    root = text.index("class Root")
    made = (
        f"        {closed}\n            raise ValueError(layout)\n        self.layout = layout\n        self.blocks ="
    )
    text = text[:root] + text[root:].replace("        self.blocks =", made).replace(
        "    def forward",
        '    def table(self, x):\n        if self.layout == "plain":\n            return x * 1\n'
        f"        return {wide}\n\n    def forward",
    )
    return plan_parallel(normal_form(text, "Root")).region


@pytest.mark.parametrize(
    ("wide", "axes"),
    [
        ("x.unsqueeze(1)", [("x", 1, 3), ("rows", -2, None)]),  # the tokens are last but one with either
        ("x.unsqueeze(-1)", None),  # behind them there are two axes with one of them, and one with the other
    ],
)
def test_each_value_of_a_closed_setting_is_walked_by_itself(wide: str, axes: list[tuple[str, int, int | None]]) -> None:
    found = with_tables(wide)
    assert (None if found is None else [(t.variable, t.dim, t.dims) for t in found.split]) == axes


def test_a_setting_that_may_be_anything_is_not_taken_for_a_few_values() -> None:
    assert with_tables("x.unsqueeze(1)", 'if layout == "none":') is None


@pytest.mark.parametrize(
    ("flag", "refused"), [("torch.all(temb == 0)", ""), ("torch.all(x == 0)", "all asks all tokens")]
)
def test_a_flag_that_a_tensor_holds_is_asked(flag: str, refused: str) -> None:
    text = model(f"done = {flag} if context is not None else False\nx = x if done else x * 2\n{LINES}")
    found = plan_parallel(normal_form(text, "Root"))
    assert refused in reason(found) if refused else found.region is not None


@pytest.mark.parametrize(("axis", "refused"), [(2, False), (1, True)])
def test_an_axis_of_a_width_is_no_single_entry(axis: int, refused: bool) -> None:
    """``squeeze`` leaves it; the axis of single entries in front of it goes, and the vectors then meet tokens."""
    text = model(
        f"x = x * temb.squeeze({axis})\n{LINES}", before="rows = self.proj_in(pooled_projections).unsqueeze(1)"
    )
    text = text.replace("x, pooled_projections, context", "x, rows, context")
    assert (plan_parallel(normal_form(text, "Root")).region is None) is refused


def test_published_models_that_need_these_rules(diffusers: SourceTree) -> None:
    found = region(diffusers, "LTX2VideoTransformer3DModel")
    tables = {(t.variable, t.dim, t.dims) for t in found.split if t.item is not None}
    assert ("video_rotary_emb", -2, None) in tables and ("audio_cross_attn_rotary_emb", -2, None) in tables
    assert [(t.variable, t.streams) for t in found.gather] == [
        ("audio_output", ("audio_hidden_states",)),
        ("output", ("hidden_states",)),
    ]
    # a mask of video tokens against video tokens: its queries are put into the order of the ranks, too
    assert [(m.variable, m.dim) for m in found.masks] == [("video_self_attention_mask", at) for at in (-2, -1)]
