"""Sequence parallelism where modules of one class, or parts of one tensor, are of different token streams."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from omniport.analyse.sequence.plan import NAME
from omniport.errors import UnsupportedError
from omniport.plan.model import SpRegion
from omniport.rewrite.transformer import render_transformer
from tests.support.normal import HEAD, normal_form, port_text, transformer_plan

ATTENTION = """
from diffusers.models.attention_dispatch import dispatch_attention_fn


class Attend(nn.Module):
    def __init__(self, dim: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x, context):
        q = self.to_q(x).unflatten(-1, (-1, self.head_dim))
        k = self.to_k(context).unflatten(-1, (-1, self.head_dim))
        v = self.to_v(context).unflatten(-1, (-1, self.head_dim))
        return self.to_out(dispatch_attention_fn(q, k, v).flatten(2))
"""


def model(block: str, before: str = "", behind: str = "", passed: str = "") -> str:
    """A model whose block has two modules of one class, ``self.own`` and ``self.other``."""
    return (
        HEAD
        + ATTENTION
        + "\n\nclass Block(nn.Module):\n    def __init__(self, dim: int, head_dim: int):\n        super().__init__()\n"
        + "        self.own = Attend(dim, head_dim)\n        self.other = Attend(dim, head_dim)\n"
        + "        self.scale = nn.Linear(dim, dim)\n\n"
        + f"    def forward(self, x, context, temb{passed and ', ' + passed}):\n"
        + "".join(f"        {line}\n" for line in block.splitlines())
        + "\n\nclass Root(nn.Module):\n    def __init__(self, heads: int = 4, head_dim: int = 8, depth: int = 2):\n"
        + "        super().__init__()\n        dim = heads * head_dim\n        self.proj_in = nn.Linear(4, dim)\n"
        + "        self.proj_out = nn.Linear(dim, 4)\n"
        + "        self.blocks = nn.ModuleList([Block(dim, head_dim) for _ in range(depth)])\n\n"
        + "    def forward(self, hidden_states, encoder_hidden_states, pooled_projections, return_dict=True):\n"
        + "        x = self.proj_in(hidden_states)\n"
        + "".join(f"        {line}\n" for line in before.splitlines())
        + "        for block in self.blocks:\n"
        + f"            x = block(x, encoder_hidden_states, pooled_projections{passed and ', ' + passed})\n"
        + "".join(f"        {line}\n" for line in behind.splitlines())
        + "        return (self.proj_out(x),)\n"
    )


def planned(text: str) -> ParallelPlan:
    return plan_parallel(normal_form(text, "Root"))


def region(text: str) -> SpRegion:
    found = planned(text)
    assert found.region is not None, reason(found)
    return found.region


def reason(found: ParallelPlan) -> str:
    return next(feature.why.reason for feature in found.features if feature.name == NAME and not feature.supported)


def test_modules_of_one_class_may_attend_to_tokens_of_the_ranks_and_to_whole_ones() -> None:
    text = model("x = x + self.own(x, x)\nreturn x + self.other(x, context)")
    (attention,) = planned(text).attentions
    assert dict(attention.key_streams) == {"Block.own": ("x",), "Block.other": ()}
    assert not attention.local and attention.streams == ()
    port = port_text(normal_form(text, "Root"))
    assert "skip_sequence_parallel=not key_streams" in port
    assert port.count('key_streams=("x",)') == 1
    own = next(line for line in port.splitlines() if "self.own = " in line)
    assert "key_streams" in port[port.index(own) : port.index("self.other")]


def test_a_module_that_attends_to_both_is_refused() -> None:
    text = model("x = x + self.own(x, x)\nreturn x + self.own(x, context)")
    assert reason(planned(text)) == "one attention layer has keys that are split and keys that are whole"


def test_modules_that_are_made_where_the_rewrite_does_not_look_are_refused() -> None:
    """Their keys would be taken for whole ones without a word."""
    normal = normal_form(model("x = x + self.own(x, x)\nreturn x + self.other(x, context)"), "Root")
    plan = transformer_plan(normal, plan_parallel(normal))
    (attention,) = plan.attentions
    lost = replace(attention, key_streams=(("Block.lost", ("x",)), ("Block.other", ())))
    with pytest.raises(UnsupportedError, match="Block.lost is made in a way that is not followed"):
        render_transformer(normal, replace(plan, attentions=(lost,)), header="", attributes=(), separate_cfg=False)


# --------------------------------------------------------------------------- one value whose tokens are of two streams
FIRST = "n = hidden_states.shape[1] // 2"
CUT = "x = torch.cat([x[:, :n] * 2, x[:, n:]], dim=1)\nreturn x + self.own(x, x)"


def test_tokens_that_a_number_cuts_are_two_streams() -> None:
    found = region(model(CUT, FIRST, passed="n"))
    (cut,) = found.cuts
    assert (cut.variable, cut.number, cut.from_end) == ("x", "n", False)
    assert [t.streams for t in found.split] == [cut.streams] == [t.streams for t in found.gather]
    port = port_text(normal_form(model(CUT, FIRST, passed="n"), "Root"))
    assert "lengths = [n, x.shape[1] - n]" in port  # of the whole input
    assert port.index("lengths = [n,") < port.index("n = tables[0].shape[1]")  # then of what a rank holds
    assert "x = torch.cat(self.sequence_gather(*x.split(x_lengths, dim=1)), dim=1)" in port


def test_a_number_may_count_from_the_end_and_be_asked_whether_there_are_any() -> None:
    block = (
        "m = x.shape[1] - n\nif m > 0:\n    x = torch.cat([x[:, :m] * 2, x[:, m:]], dim=1)\nreturn x + self.own(x, x)"
    )
    (cut,) = region(model(block, FIRST, passed="n")).cuts
    assert cut.from_end and cut.number == "n"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        # a rank cannot know on which side of another place its tokens are
        ("x = torch.cat([x[:, : 2 * n] * 2, x[:, 2 * n :]], dim=1)\nreturn x + self.own(x, x)", "no border"),
        # the two would change places
        (
            "y = x[:, n:]\ny = torch.cat([y, x[:, :n]], dim=1)\nx = x + y\nreturn x + self.own(x, x)",
            "different make-up",
        ),
        ("m = x.shape[1] - n\nif m > 3:\n    x = x * 2\nreturn x + self.own(x, x)", "compares the number of tokens"),
    ],
)
def test_other_cuts_are_refused(block: str, why: str) -> None:
    assert why in reason(planned(model(block, FIRST, passed="n")))


def test_a_number_that_counts_a_rank_s_tokens_is_not_read_behind_them() -> None:
    text = model(CUT, FIRST, "x = x.flip(1)[:, :n]", passed="n")
    assert "counts the tokens of a rank and is read behind the blocks" in reason(planned(text))


def test_names_that_are_not_read_again_need_not_agree() -> None:
    block = "if temb.shape[1] > 3:\n    y, rest = x[:, :n], x[:, n:]\n    x = torch.cat([y, rest], dim=1)\n"
    block += "else:\n    y = x\n"
    assert region(model(block + "return x + self.own(x, x)", FIRST, passed="n")).cuts
    assert "make-up" in reason(planned(model(block + "x = x + self.own(x, x)\nreturn x + y", FIRST, passed="n")))
