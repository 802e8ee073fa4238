"""Sums of products in float32 become one call; sums that may be in another precision stay."""

from __future__ import annotations

import libcst as cst
import pytest
import torch

from omniport.rewrite.modulation import HELPER, fuse_modulation

IMPORTED = {"nn": "torch.nn", "FP32LayerNorm": "diffusers.models.normalization.FP32LayerNorm"}
CLASS = """
class A(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = FP32LayerNorm(dim)
        self.attn = B(dim)

    def forward(self, x, temb, factor):
        shift, scale, gate = (self.table + temb.float()).chunk(3, dim=1)
{lines}
        return x
"""


def run(*lines: str, imported: dict[str, str] = IMPORTED, kernel: bool = False) -> str:
    text = CLASS.format(lines="\n".join(f"        {line}" for line in lines))
    made = fuse_modulation(cst.parse_module(text), imported, gate_kernel=kernel).code
    return "\n".join(line.strip() for line in made.splitlines()[9:-1])


def test_a_gated_residual_is_one_call() -> None:
    text = run("y = self.attn(x)", "x = (x.float() + y * gate).type_as(x)")
    assert text.endswith("x = torch.addcmul(x, y, gate, out=torch.empty_like(x))")
    assert "addcmul(x, y, gate, out" in run("y = self.attn(x)", "x = (x.float() + y.float() * gate).type_as(x)")
    assert "addcmul(x, gate, y, out" in run("y = self.attn(x)", "x = (gate * y + x.float()).type_as(x)")


def test_a_modulated_norm_is_one_call() -> None:
    text = run("y = (self.norm(x.float()) * (1 + scale) + shift).type_as(x)")
    assert text.endswith("y = torch.addcmul(shift, self.norm(x.float()), 1 + scale, out=torch.empty_like(x))")


def test_a_cast_to_a_tensors_precision_is_the_same_as_one_to_its_type() -> None:
    text = run("x = (x.float() * (1 + temb.float()) + factor.float()).to(x.dtype)")
    assert text.endswith("x = torch.addcmul(factor, x, 1 + temb.float(), out=torch.empty_like(x))")


def test_a_gate_in_low_precision_is_cast_alone() -> None:
    """Kandinsky: without a cast nothing would be in float32; the tokens need none."""
    lines = ("y = self.attn(x)", "x = (x.float() + factor.float() * y.float()).type_as(x)")
    assert run(*lines).endswith("x = torch.addcmul(x, factor.float(), y, out=torch.empty_like(x))")
    assert run(*lines, kernel=True).endswith("x = gated_residual(x, y, factor.float())")


def test_a_product_casts_what_a_module_made_as_it_reads_it() -> None:
    made = run("y = self.attn(x)", "x = x + (factor.float() * y.float()).to(x.dtype)")
    assert made.endswith("x = x + (factor.float() * y).to(x.dtype)")
    made = run("x = x + (factor.float() * self.attn(x).float()).to(x.dtype)")
    assert made.endswith("x = x + (factor.float() * self.attn(x)).to(x.dtype)")


@pytest.mark.parametrize("line", ["x = factor.float() * y.float()", "x = (factor.float() * x.float()).to(x.dtype)"])
def test_a_product_that_is_not_rounded_or_of_unknown_tensors_stays(line: str) -> None:
    assert run("y = self.attn(x)", line).endswith(line)


def test_a_norm_of_another_tensor_may_have_another_length() -> None:
    text = run("y = (self.norm(temb.float()) * (1 + scale) + shift).type_as(x)")
    assert text.endswith("y = torch.addcmul(shift, self.norm(temb.float()), 1 + scale).type_as(x)")


def test_a_shift_of_unknown_precision_is_a_tensor_all_the_same() -> None:
    """The norm is in float32, so the sum is: the last norm of Wan, whose shift went to another device."""
    split = ("a, b = (self.table + temb).chunk(2, dim=1)", "a = a.to(x.device)", "b = b.to(x.device)")
    last = "y = (self.norm(x.float()) * (1 + a) + b).type_as(x)"
    assert run(*split, last).endswith("y = torch.addcmul(b, self.norm(x.float()), 1 + a, out=torch.empty_like(x))")
    assert "addcmul" not in run(*split[:2], "b = factor", last)


def test_a_norm_that_keeps_float32_says_that_it_is() -> None:
    lines = ("a, b = self.pair(temb)", "y = (self.norm(x.float()) * (1 + a) + b).type_as(x)")
    tensors = ("a, b = self.pair(temb).chunk(2, dim=1)", lines[1])
    assert "addcmul(b, self.norm(x.float()), 1 + a, out" in run(*tensors)
    assert "addcmul" not in run(*lines)  # a and b may be numbers: nothing says what the module gives back


def test_both_branches_must_agree() -> None:
    branch = ("if temb.ndim == 4:", "    gate = gate.squeeze(2)", "else:", "    gate = {other}")
    last = ("y = self.attn(x)", "x = (x.float() + y * gate).type_as(x)")
    assert "addcmul" in run(*(line.format(other="temb.float()") for line in branch), *last)
    assert "addcmul" not in run(*(line.format(other="temb") for line in branch), *last)


@pytest.mark.parametrize(
    "lines",
    [
        ("y = self.attn(x)", "x = (x.float() + y * temb).type_as(x)"),  # the product is in another precision
        ("y = self.attn(x)", "x = (x.float() + y * gate)"),  # nothing is rounded
        ("y = self.attn(x)", "x = (x.float() - y * gate).type_as(x)"),
        ("y = self.attn(x)", "x = (x.float() + y / gate).type_as(x)"),
        ("x = (x.float() + factor * gate).type_as(x)",),  # the factor may be a number
        ("x = (x.float() + 2.0 * gate).type_as(x)",),
        ("y = self.attn(x)", "gate *= temb", "x = (x.float() + y * gate).type_as(x)"),
        ("y = self.attn(x)", "for gate in temb:", "    x = (x.float() + y * gate).type_as(x)"),
        ("x = (x.float() + factor.float() * temb.float()).type_as(x)",),  # nothing says which factor is narrow
        ("y = self.attn(x)", "x = (x.float() + y * gate).to(torch.bfloat16)"),
        ("y = self.attn(x)", "x = (x.float() + y * gate).to(x.device)"),
        ("y = self.attn(x)", "gate = gate.to(x.dtype)", "x = (x.float() + y * gate).type_as(x)"),
    ],
)
def test_what_may_be_in_another_precision_stays(lines: tuple[str, ...]) -> None:
    assert "addcmul" not in run(*lines)


def test_a_norm_of_another_kind_says_nothing() -> None:
    lines = ("a = self.pair(temb)", "y = (self.norm(x.float()) * a + self.attn(x)).type_as(x)")
    assert "addcmul" in run(*lines)
    assert "addcmul" not in run(*lines, imported={"nn": "torch.nn", "FP32LayerNorm": "elsewhere.FP32LayerNorm"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_calls_compute_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    x, y = (torch.randn(2, 5, 8).to(dtype) for _ in range(2))
    gate = torch.randn(2, 1, 8)
    with torch.inference_mode():
        one = torch.addcmul(x, y, gate, out=torch.empty_like(x))
        two = torch.addcmul(gate, y.float(), gate).type_as(x)
        three = torch.addcmul(gate.to(dtype), y.float(), 1 + gate, out=torch.empty_like(x))
    assert torch.equal(three, torch.addcmul(gate.to(dtype).float(), y.float(), 1 + gate).type_as(x))
    assert one.dtype == dtype and torch.allclose(one, (x.float() + y * gate).type_as(x), rtol=1e-6, atol=1e-6)
    assert torch.allclose(
        two, (y.float() * gate + gate).type_as(x), rtol=1e-2 if dtype is torch.bfloat16 else 1e-6, atol=1e-6
    )


def test_a_gated_residual_calls_the_kernel_where_there_is_one() -> None:
    made = "y = self.attn(x)"
    assert run(made, "x = (x.float() + y * gate).type_as(x)", kernel=True).endswith("x = gated_residual(x, y, gate)")
    assert run(made, "x = (gate * y + x.float()).type_as(x)", kernel=True).endswith("x = gated_residual(x, y, gate)")
    assert "gated_residual" not in run(made, "x = (y.float() + x * gate).type_as(x)", kernel=True)
    assert "gated_residual" not in run(made, "x = (x.float() + gate * scale).type_as(x)", kernel=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 1, 8), (2, 5, 8), (1, 1, 8), (8,)])
def test_the_kernel_computes_the_same(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    from vllm_omni.diffusion.layers.indexed_modulation import indexed_gate

    calls = []

    def kernel(*args: torch.Tensor) -> torch.Tensor:
        calls.append(args)
        return indexed_gate(*args)

    space = {"torch": torch, "indexed_gate": kernel}
    exec(HELPER, space)
    torch.manual_seed(3)
    x = torch.randn(2, 8, 5).to(dtype).transpose(1, 2)  # rows that are not dense
    y, gate = torch.randn(2, 5, 8).to(dtype), torch.randn(shape)
    with torch.inference_mode():
        got = space["gated_residual"](x, y, gate)  # type: ignore[operator]
    assert got.dtype == dtype and torch.allclose(got, (x.float() + y * gate).type_as(x), rtol=1e-6, atol=1e-6)
    assert len(calls) == (shape[0] == 2) and all(part.is_contiguous() for args in calls for part in args)
