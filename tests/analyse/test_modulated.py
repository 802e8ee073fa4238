"""What TeaCache would watch: the modulated input of the first block."""

from __future__ import annotations

import pytest

from omniport.analyse.modulated import modulated_input
from omniport.plan.model import BlockListPlan, Why
from omniport.source.normal import NormalForm


def found(body: str) -> object:
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    text = f"class Block(nn.Module):\n    def forward(self, x, context, temb):\n{lines}        return x\n"
    normal = NormalForm(text, "Block", (None,) * text.count("\n"))
    (decision,) = modulated_input(normal, (BlockListPlan("blocks", "Block", 3, Why("")),))
    assert decision.subject == "modulated input" and decision.why.reason
    return decision.value


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("h, gate = self.norm1(x, emb=temb)", "self.norm1(x, emb=temb)"),
        ("if self.dual:\n    h, gate = self.norm1(x, temb)", "self.norm1(x, temb)"),
        ("h = self.norm1(x)\nh = h * (1 + scale) + shift", "h * (1 + scale) + shift"),
        ("h = (self.norm1(x.float()) * (1 + s) + t).type_as(x)", "self.norm1(x.float()) * (1 + s) + t"),
        ("a = self.attn((1.0 + s) * self.norm1(x) + t, context)", "(1.0 + s) * self.norm1(x) + t"),
        ("h = torch.addcmul(t, self.norm1(x), 1 + s)", "torch.addcmul(t, self.norm1(x), 1 + s)"),
        ("c = self.norm2(context, temb)\nh = self.norm1(x, temb)", "self.norm1(x, temb)"),
    ],
)
def test_the_modulated_stream_is_found(body: str, expected: str) -> None:
    assert found(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "h = self.norm1(x)\nx = x + self.attn(h, context)",  # not modulated at all
        "c = self.norm2(context) * (1 + s)",  # another stream
        "h = self.modulate(self.norm1(x), temb)",  # what a method makes of it is not looked into
        "h = self.attn(self.norm1(x)) * (1 + gate)",  # what attention gave
    ],
)
def test_what_is_not_seen_is_said_to_be_unknown(body: str) -> None:
    assert found(body) is None
