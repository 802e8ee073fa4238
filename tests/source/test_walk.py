"""Reading trees: what is met, in which order, and copies that share nothing that is met."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.source.walk import children, fresh, walk

TEXT = '''
class Block(nn.Module):
    """Norm, then linear."""

    def __init__(self, dim: int, eps: float = 1e-6, *names: str):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)  # kept whole
        self.items = [n for n in names if n]

    def forward(self, x):
        a, b = self.norm(x).chunk(2, dim=-1)
        return f"{a}" if x is None else a * b[..., 0]
'''


def test_children_come_in_source_order_of_the_fields() -> None:
    call = cst.parse_expression("f(a, k=b)")
    assert [type(c).__name__ for c in children(call)] == ["Name", "Arg", "Arg"]
    assert [_code(c) for c in children(call)] == ["f", "a", "k=b"]


def test_walk_meets_parents_first_and_leaves_layout_out() -> None:
    met = [type(n).__name__ for n in walk(cst.parse_expression("(a + b.c)  # not met"))]
    assert met == ["BinaryOperation", "Name", "Add", "Attribute", "Name", "Name"]


def test_a_fresh_copy_shares_no_node_that_walk_meets() -> None:
    module = cst.parse_module(TEXT)
    copy = fresh(module)
    assert copy.code == TEXT
    assert copy.deep_equals(module)
    assert not {id(n) for n in walk(copy)} & {id(n) for n in walk(module)}


def test_a_node_that_stands_twice_is_copied_twice() -> None:
    name = cst.Name("x")
    twice = cst.Tuple([cst.Element(name), cst.Element(name)])
    assert len({id(n) for n in walk(twice) if isinstance(n, cst.Name)}) == 1
    assert len({id(n) for n in walk(fresh(twice)) if isinstance(n, cst.Name)}) == 2


@pytest.mark.parametrize("text", ["x", "1", "'s'", "None"])
def test_leaves_have_no_children(text: str) -> None:
    assert children(cst.parse_expression(text)) == []


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node).removesuffix(", ")
