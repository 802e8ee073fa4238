"""The branch for images goes where every caller has its channels last."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal import image_inputs
from omniport.rewrite.normal.image_inputs import drop_image_inputs
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(drop_image_inputs)

IMAGES = """
        rank = x.ndim
        if rank == 4:
            batch, channel, height, width = x.shape
            x = x.view(batch, channel, height * width).transpose(1, 2)
        batch, length = x.shape[:2] if rank == 4 else y.shape[:2]
        x = self.out(x)
        if rank == 4:
            x = x.transpose(-1, -2).reshape(batch, channel, height, width)
        elif rank == 2:
            x = x + 1
        if rank == 4:
            x = x + 2
        else:
            x = x + 3
"""
TOKENS = """
        rank = x.ndim
        batch, length = y.shape[:2]
        x = self.out(x)
        if rank == 2:
            x = x + 1
        x = x + 3
"""
PROGRAM = """
class A(nn.Module):
    def __init__(self, query_dim, heads):
        self.out = nn.Linear(query_dim, query_dim)
    def forward(self, x, y):
        {body}
        return x

class Block(nn.Module):
    def __init__(self, dim, other):
        {norm}
        self.attn = A({built})
    def forward(self, x, y):
        return self.attn({call})
"""


def program(
    body: str = IMAGES, norm: str = "self.norm = nn.LayerNorm(dim)", built: str = "dim, 4", call: str = "x, y"
) -> str:
    return PROGRAM.format(body=body.strip(), norm=norm, built=built, call=call)


@pytest.mark.parametrize(
    "norm",
    [
        "self.norm = nn.LayerNorm(dim)",
        "self.norm = AdaLayerNormZero(dim, other)",
        "self.norm = RMSNorm(dim, eps=1e-6)",
        "self.norms = nn.ModuleList([nn.LayerNorm(dim)])",
    ],
)
def test_images_are_none_where_the_caller_normalises_the_width(norm: str) -> None:
    check_transformed(rewrite, program(norm=norm), program(TOKENS, norm=norm))


def test_the_width_may_be_given_by_name() -> None:
    check_transformed(rewrite, program(built="heads=4, query_dim=dim"), program(TOKENS, built="heads=4, query_dim=dim"))


NOTHING_KNOWN = [
    program(norm="pass"),  # nothing says where the channels are
    program(norm="self.norm = nn.LayerNorm(other)"),  # another width
    program(norm="self.proj = nn.Linear(dim, dim)"),
]


@pytest.mark.parametrize(
    "before",
    [
        *NOTHING_KNOWN,
        program(IMAGES.replace(".transpose(1, 2)", "")),  # no tokens are made: another meaning of four axes
        program(IMAGES.replace("== 4", "== 5")),
        program("x = x.unflatten(1, (4, -1))" + IMAGES),  # the axes of something else
        program().replace("self.attn(x, y)", "x"),  # no caller is seen
        program() + "\nclass Other(nn.Module):\n    def __init__(self, dim):\n        self.attn = A(dim, 2)\n"
        "    def forward(self, x, y):\n        return self.attn(x, y)\n",  # one of the callers may have images
    ],
)
def test_what_is_not_known_to_be_tokens_stays(before: str) -> None:
    check_noop(rewrite, before)


@pytest.mark.parametrize("before", NOTHING_KNOWN)
def test_without_the_proof_the_branch_would_go(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    monkeypatch.setattr(image_inputs, "_only_tokens", lambda cls, facts: True)
    with pytest.raises(AssertionError):
        check_noop(rewrite, before)
