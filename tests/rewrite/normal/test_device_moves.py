"""Moves to the device that a tensor is on already go."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal import device_moves
from omniport.rewrite.normal.device_moves import drop_device_moves
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(drop_device_moves)

PROGRAM = """
class A(nn.Module):
    def __init__(self, dim):
        self.table = nn.Parameter(torch.randn(2, dim))
        self.cos = rope(dim)
        self.proj = nn.Linear(dim, dim)
    def forward(self, x, temb):
        {body}
        return x
"""


def program(body: str) -> str:
    return PROGRAM.format(body=body.replace("\n", "\n        "))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "a, b = self.table.chunk(2)\na, b = a.squeeze(1), b.squeeze(1)\nx = x + a.to(x.device)",
            "a, b = self.table.chunk(2)\na, b = a.squeeze(1), b.squeeze(1)\nx = x + a",
        ),
        ("x = self.table.to(temb.device) + temb", "x = self.table + temb"),
        ("x = self.table[None].float().to(x.device) * x", "x = self.table[None].float() * x"),
        (
            "temb = self.proj(temb)\nx = x.flatten(2).transpose(1, 2)\n"
            "a, b = (self.table + temb).chunk(2, dim=1)\na = a.to(x.device)\nx = x * a",
            "temb = self.proj(temb)\nx = x.flatten(2).transpose(1, 2)\n"
            "a, b = (self.table + temb).chunk(2, dim=1)\na = a\nx = x * a",
        ),
    ],
)
def test_what_a_parameter_is_part_of_is_where_the_module_is(before: str, after: str) -> None:
    check_transformed(rewrite, program(before), program(after))


UNKNOWN = [
    "x = self.cos.to(x.device) * x",  # no parameter: it may lie anywhere
    "a = torch.arange(4)\na = a.to(x.device)\nx = x + a",
    "a = temb\nx = x + a.to(x.device)",  # an input: the caller's affair
    "a = self.table.cpu()\nx = x + a.to(x.device)",
]


@pytest.mark.parametrize(
    "body",
    [
        *UNKNOWN,
        "y = torch.zeros(3)\nx = self.table.to(y.device)",  # a move to where another tensor was made
        "for y in temb.tolist():\n    x = x + self.table.to(y.device)",
        "x = self.table.to('cpu')",
        "x = self.table.to(x.device, x.dtype)",
        "x = self.table.to(x.dtype) + x",
        "a = self.table + temb\nif x.ndim == 3:\n    a = torch.ones(3)\nx = x + a.to(x.device)",
    ],
)
def test_other_moves_stay(body: str) -> None:
    check_noop(rewrite, program(body))


@pytest.mark.parametrize("body", UNKNOWN)
def test_without_the_proof_the_move_would_go(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(device_moves._Place, "holds", lambda place, node: True)
    with pytest.raises(AssertionError):
        check_noop(rewrite, program(body))
