"""What the number of ranks has to divide: sizes of the root's parameters, and widths that a class computes itself."""

from __future__ import annotations

import pytest

from omniport.analyse.parallel import ParallelPlan, plan_parallel
from tests.support.normal import block_model, normal_form, port_text, roles

FORWARD = "return x + self.down(F.gelu(self.up(x)))"


def feed_forward(width: str) -> str:
    return f"{width}\nself.up = nn.Linear(dim, inner)\nself.down = nn.Linear(inner, dim)"


def divisors(found: ParallelPlan) -> set[str]:
    return {str(d.value) for d in found.decisions if d.subject == "tp divisor"}


def own(found: ParallelPlan) -> set[str]:
    return {d.subject for d in found.decisions if d.subject.startswith("own width")}


@pytest.mark.parametrize(
    ("width", "size"),
    [
        ("inner = 3 * dim", "3 * head_dim * heads"),
        ("inner = dim * 3 or 1", "3 * head_dim * heads"),
        ("inner = int(8 * dim / 3)", ""),
        ("inner = 8 * dim // 3", ""),
        ("inner = int(dim * 2.7) // 8 * 8", ""),
        ("inner = 4 * dim + 8", ""),
    ],
)
def test_a_width_is_checked_by_the_root_where_its_parameters_give_it(width: str, size: str) -> None:
    normal = block_model(feed_forward(width), FORWARD)
    found = plan_parallel(normal)
    assert roles(found) == {"up": "column", "down": "row"}
    assert size in divisors(found) if size else own(found) == {"own width Block.up"}
    assert ("check_divisible(" in port_text(normal)) == (not size)


def test_the_check_stands_before_the_layer_and_names_the_size() -> None:
    text = port_text(block_model(feed_forward("inner = int(8 * dim / 3)"), FORWARD))
    at = text.index('check_divisible("Block", inner=inner)')
    assert text.index("inner = int(8 * dim / 3)") < at < text.index("self.up = ColumnParallelLinear(dim, inner")
    assert text.count('check_divisible("Block"') == 1


def test_the_message_names_what_works() -> None:
    from omniport.rewrite.widths import CHECK

    space = {"get_tensor_model_parallel_world_size": lambda: 4}
    exec(CHECK, space)
    check = space["check_divisible"]
    check("Block", inner=172)
    with pytest.raises(ValueError, match=r"tensor_parallel_size=4 does not divide inner=170 of Block; these do: \[1, "):
        check("Block", inner=170)  # type: ignore[operator]


def test_a_vector_that_may_be_one_for_each_token_is_not_gathered() -> None:
    """The time of each token: ``timestep.ndim == 2`` says that it may come."""
    code = block_model("self.mod = nn.Linear(dim, dim)", "return x * self.mod(temb)[:, None]").code
    code = code.replace("pooled_projections", "timestep")
    asked = code.replace("        x = self.proj_in", "        timestep = embed(timestep)\n        x = self.proj_in")
    several = asked.replace("        timestep = e", "        n = 1 if timestep.ndim == 2 else 0\n        timestep = e")
    assert roles(plan_parallel(normal_form(asked, "Root")))["mod"] == "gathered"
    assert roles(plan_parallel(normal_form(several, "Root")))["mod"] != "gathered"
