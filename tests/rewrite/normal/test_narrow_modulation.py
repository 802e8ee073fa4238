"""Modulation that blocks only scale and shift by stays narrow; what else reads its length keeps it expanded."""

from __future__ import annotations

import libcst as cst
import pytest
import torch

from omniport.rewrite.normal.narrow_modulation import narrow_modulation

PROGRAM = """
class Block:
    def forward(self, x, temb, mask):
        shift, scale, gate = temb
        residual = x
        x = self.norm(x)
        x = x.float() * (1 + scale.float()) + shift.float()
        out = self.attn(x, mask)
        return residual + gate.float() * out.to(x.dtype)

class Root:
    def forward(self, x, temb, mask):
        S = x.shape[0]
        shift, scale, gate = [t.unsqueeze(0).expand(S, -1, -1).contiguous() for t in temb.chunk(3, dim=-1)]
        for layer in self.layers:
            packed = [shift, scale, gate]
            x = layer(x, packed, mask)
        return x
"""
NARROW = "[t.unsqueeze(0) for t in temb.chunk(3, dim=-1)]"


def run(text: str, held: dict[str, set[str]] | None = None) -> str:
    classes = {node.name.value: node for node in cst.parse_module(text).body if isinstance(node, cst.ClassDef)}
    made = narrow_modulation(classes, "Root", {"layers": {"Block"}} if held is None else held)
    assert (made is classes["Root"]) == (cst.Module([made]).code == cst.Module([classes["Root"]]).code)
    return cst.Module([made]).code


def changed(*pairs: tuple[str, str]) -> str:
    text = PROGRAM
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM,
        changed((".contiguous()", "")),
        changed(("x.shape[0]", "x.size(0)")),
        changed(("for layer in self.layers", "for number, layer in enumerate(self.layers)")),
        changed(("packed = [shift, scale, gate]", "packed = (shift, scale, gate)")),
        changed(("layer(x, packed, mask)", "layer(x=x, mask=mask, temb=packed)")),
        changed(("residual + gate.float() * out", "out + residual / gate")),
    ],
)
def test_modulation_of_tokens_is_not_expanded(text: str) -> None:
    assert NARROW in run(text)


def test_one_tensor_that_is_handed_over_by_itself() -> None:
    text = changed(
        ("shift, scale, gate = [t.unsq", "gate = temb.unsq"), (" for t in temb.chunk(3, dim=-1)]", ""),
        ("            packed = [shift, scale, gate]\n", ""), ("packed, mask)", "gate, mask)"),
        ("        shift, scale, gate = temb\n", ""), ("gate.float()", "temb"),
        ("(1 + scale.float()) + shift.float()", "2"),
    )  # fmt: skip
    assert "gate = temb.unsqueeze(0)\n" in run(text)


@pytest.mark.parametrize(
    "text",
    [
        changed(("x.float() * (1 + scale.float())", "x.float() * (1 + scale.mean(0))")),  # an axis of it is counted
        changed(("scale.float()", "scale[0].float()")),
        changed(("scale.float()", "scale.reshape(x.shape)")),
        changed(("self.attn(x, mask)", "self.attn(x, scale)")),  # handed on
        changed(("self.attn(x, mask)", "self.attn(x, mask) * (scale + shift)"), ("x.float() * (1 + ", "(1 + ")),
        changed(("residual + gate.float() * out.to(x.dtype)", "residual + gate.float() * self.table")),  # no tokens
        changed(("residual + gate.float() * out.to(x.dtype)", "torch.cat([residual, gate])")),
        changed(("shift, scale, gate = temb", "shift, scale, gate = temb\n        gate = gate.tanh()")),
        changed(("shift, scale, gate = temb", "shift, scale, gate = temb\n        kept = temb")),
        changed(("S = x.shape[0]", "S = mask.shape[0]")),  # the length of something that the block does not get
        changed(("layer(x, packed, mask)", "layer(y, packed, mask)")),
        changed(("S = x.shape[0]", "S = x.shape[1]")),
        changed(("S = x.shape[0]", "S = x.shape[0]\n        S = 2 * S")),
        changed(("expand(S, -1, -1)", "expand(S, 2, -1)")),
        changed(("expand(S, -1, -1)", "expand(-1, S, -1)")),
        changed(("unsqueeze(0)", "unsqueeze(1)")),
        changed(("return x\n", "return x + shift\n")),  # read in the root, too
        changed(("return x\n", "return self.out(x, packed)\n")),
        changed(("layer(x, packed, mask)", "layer(x, packed, scale)")),
        changed(("for layer in self.layers", "for layer in [*self.layers, *self.others]")),
    ],
)
def test_any_other_stays(text: str) -> None:
    assert NARROW not in run(text)


def test_a_block_that_is_not_in_the_module_may_do_anything() -> None:
    assert NARROW not in run(PROGRAM, {"layers": {"Elsewhere"}})
    assert NARROW not in run(PROGRAM, {})


def test_it_computes_the_same() -> None:
    torch.manual_seed(3)
    x, temb = torch.randn(5, 2, 8), torch.randn(2, 24)
    results = []
    for text in (PROGRAM, PROGRAM.replace(".expand(S, -1, -1).contiguous()", "")):
        space: dict[str, type] = {}
        exec(text, {}, space)
        block, root = space["Block"](), space["Root"]()
        block.norm = lambda t: t / 2
        block.attn = lambda t, mask: t.flip(0)
        root.layers = [block.forward] * 2
        results.append(root.forward(x, temb, None))
    assert torch.equal(*results)
