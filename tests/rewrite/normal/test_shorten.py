"""What specialising leaves behind is said shorter; what an author wrote stays."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal.shorten import inline_aliases, shorten
from tests.rewrite.normal.helpers import check_noop, check_transformed, classes, each
from tests.rewrite.normal.helpers import text as rendered

SHORTEN, ALIASES = each(shorten), each(inline_aliases)


def method(body: str, name: str = "forward", args: str = "x") -> str:
    lines = "\n".join(f"        {line}" for line in body.split("\n"))
    return f"class A(nn.Module):\n    def {name}(self, {args}):\n{lines}\n"


@pytest.mark.parametrize(
    "body",
    [
        "pair = f(x)\na, b = pair\nreturn a + b + pair[0]",  # read twice
        "pair = f(x)\ny = g(pair)\nreturn y",
        "for i, block in enumerate(self.blocks):\n    x = block(x, i)\nreturn x",
        "for block in self.blocks:\n    x = block(x)\nreturn x",
        "y = dispatch_attention_fn(x, x, x, attn_mask=mask)\nreturn y",
        "y = dispatch_attention_fn(x, x, x, is_causal=True)\nreturn y",
        "self.net = nn.ModuleList([])\nx = 1\nself.net.append(x)\nreturn x",  # not right after it
        "return nn.Linear(4, 4, bias=False)(x)",
        "return nn.Linear(4, 4, bias=flag)(x)",
    ],
)
def test_kept(body: str) -> None:
    check_noop(SHORTEN, method(body))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pair = f(x)\na, b = pair\nreturn a + b", "a, b = f(x)\nreturn a + b"),
        ("for i, b in enumerate(self.bs):\n    x = b(x)\nreturn x", "for b in self.bs:\n    x = b(x)\nreturn x"),
        ("return dispatch_attention_fn(x, x, x, attn_mask=None, backend=b)", "return dispatch_attention_fn(x, x, x)"),
        ("return nn.Linear(4, 4, bias=True)(x)", "return nn.Linear(4, 4)(x)"),
        ("return torch.nn.GELU()(x)", "return nn.GELU()(x)"),
    ],
)
def test_shortened(before: str, after: str) -> None:
    check_transformed(SHORTEN, method(before), method(after))


def test_appends_become_a_list() -> None:
    before = "act = GELU(x)\nself.net = nn.ModuleList([])\nself.net.append(act)\nself.net.append(nn.Linear(x, x))"
    check_transformed(
        SHORTEN,
        method(before, "__init__"),
        method("self.net = nn.ModuleList([GELU(x), nn.Linear(x, x), ])", "__init__"),
    )


def test_a_method_of_one_return_moves_to_its_call() -> None:
    before = """
    class A(nn.Module):
        def act(self, gate):
            return F.gelu(gate, approximate="tanh")
        def forward(self, x):
            return self.act(x)
    """
    check_transformed(SHORTEN, before, before.replace("return self.act(x)", 'return F.gelu(x, approximate="tanh")'))


def test_a_longer_method_stays() -> None:
    check_noop(
        SHORTEN,
        """
        class A(nn.Module):
            def act(self, gate):
                gate = gate * 2
                return gate
            def forward(self, x):
                return self.act(x)
        """,
    )


@pytest.mark.parametrize(
    "body",
    [
        "self.inner = 2 * dim\nself.lin = nn.Linear(dim, self.inner)",  # computed, not an alias
        "self.inner = dim\ndim = dim + 1\nself.lin = nn.Linear(dim, self.inner)",
        "out = dim\nout = out + 1\nself.lin = nn.Linear(dim, out)",
    ],
)
def test_not_an_alias(body: str) -> None:
    check_noop(ALIASES, method(body, "__init__", "dim"))


def test_an_alias_read_in_the_forward_stays() -> None:
    check_noop(
        ALIASES,
        """
        class A(nn.Module):
            def __init__(self, dim):
                self.dim = dim
                self.lin = nn.Linear(self.dim, self.dim)
            def forward(self, x):
                return self.lin(x) * self.dim
        """,
    )


@pytest.mark.parametrize("name", ["self.inner", "inner"])
def test_an_alias_is_read_through(name: str) -> None:
    check_transformed(
        ALIASES,
        method(f"{name} = dim\nself.lin = nn.Linear(dim, {name}, inner={name})", "__init__", "dim"),
        method(f"{name} = dim\nself.lin = nn.Linear(dim, dim, inner=dim)", "__init__", "dim"),
    )


def test_an_attribute_that_repeats_another_is_read_through() -> None:
    body = "self.inner = dim * 2\nself.kv = self.inner\nself.lin = nn.Linear(dim, {})"
    found = ALIASES(classes(method(body.format("self.kv"), "__init__", "dim")))
    assert "nn.Linear(dim, self.inner)" in rendered(found)


@pytest.mark.parametrize("more", ["self.kv = dim", "self.inner = dim", "self.inner += 1"])
def test_an_attribute_that_is_set_again_stays(more: str) -> None:
    body = f"self.inner = dim * 2\nself.kv = self.inner\n{more}\nself.lin = nn.Linear(dim, self.kv)"
    check_noop(ALIASES, method(body, "__init__", "dim"))
