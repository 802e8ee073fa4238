"""Names of what a constructor builds, in whatever way it does."""

from __future__ import annotations

import ast
from pathlib import Path

import libcst as cst
import pytest

from omniport.analyse.wrappers import wrappers
from omniport.rewrite.builds import build_paths, constructors
from omniport.rewrite.syntax import dotted
from omniport.source.tree import SourceTree
from tests.support.normal import CANVAS, normal_form, port_text

WRAPPER = (
    "class Wrap(nn.Module):\n    def __init__(self, block, n):\n        self.inner = block\n        self.n = n + 1\n"
)


def paths(body: str) -> list[str]:
    """Paths of the calls of ``B`` in a constructor with ``body``."""
    lines = "\n        ".join(body.splitlines())
    module = cst.parse_module(f"{WRAPPER}\nclass A(nn.Module):\n    def __init__(self, n):\n        {lines}\n")
    classes = {node.name.value: node for node in module.body if isinstance(node, cst.ClassDef)}
    found = build_paths(constructors(classes["A"])["__init__"], classes)
    return [path for call, path in found.items() if dotted(call.func) == "B"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.a = B(n)", ["a"]),
        ("self.a = B(n) if n else B(1)", ["a", "a"]),
        ("self.a, self.b = B(n), B(1)", ["a", "b"]),
        ("a: nn.Module = B(n)\nself.x = a", ["x"]),
        ("if n:\n    a = B(n)\nelse:\n    a = B(1)\nself.x = a", ["x", "x"]),
        ("a = B(n)\nself.x = a\na = B(1)\nself.y = a", ["x", "y"]),
        ("self.x = nn.Sequential(nn.SiLU(), B(n))", ["x.1"]),
        ("self.x = nn.Sequential(*[B(n) for i in range(n)])", ["x.{i}"]),
        ("self.x = nn.Sequential(*(B(n) for _ in range(n)))", ["x.{i}"]),
        ("items = [B(n) for k in range(n)]\nself.x = nn.ModuleList(items)", ["x.{k}"]),
        ("items = []\nfor c in n:\n    items.append(B(c))\nself.x = nn.ModuleList(items)", ["x.{len(items)}"]),
        ("for _ in n:\n    self.x.append(nn.ModuleList([B(1), B(2)]))", [f"x.{{len(self.x)}}.{i}" for i in (0, 1)]),
        ("for _ in n:\n    b = B(1)\n    self.x.append(b)", ["x.{len(self.x)}"]),
        ("self.x = nn.ModuleDict({'p': B(1), n.key: B(2)})", ["x.p", "x.{n.key}"]),
        ("d = {}\nfor k in n:\n    d[f'{k}-{n}'] = B(k)\nself.x = nn.ModuleDict(d)", ["x.{k}-{n}"]),
        ("self.x = nn.ModuleDict({k: B(k) for k in n})", ["x.{k}"]),
        ("for i in n:\n    setattr(self, f'x_{i}', B(i))", ["x_{i}"]),
        ("self.add_module('x', B(n))", ["x"]),
        ("self.x = nn.ModuleList([Wrap(B(n), n=n) for k in range(n)])", ["x.{k}.inner"]),
        ("self.x = Wrap(n=n, block=B(n))", ["x.inner"]),
    ],
)
def test_path(body: str, expected: list[str]) -> None:
    assert paths(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.x = nn.ModuleDict({n['a']: B(1)})", ["x"]),  # a key that cannot stand in an f-string
        ("self.x = nn.ModuleList([*n, B(1)])", ["x"]),  # a place that is not known
        ("self.x = nn.ModuleList([B(1)] + [B(2)])", ["x.0", "x"]),
        ("self.x = Wrap(None, B(1))", [""]),  # what becomes of the parameter is not known
        ("make(lambda: B(1))", [""]),
    ],
)
def test_what_is_not_known_is_left_out(body: str, expected: list[str]) -> None:
    assert paths(body) == expected


def test_a_class_that_is_only_imported_tells_what_it_calls_the_block() -> None:
    text = "class A:\n    def __init__(self, n):\n        self.x = nn.ModuleList([Held(B(n)) for i in range(n)])\n"
    (node,) = cst.parse_module(text).body
    assert isinstance(node, cst.ClassDef)
    init = constructors(node)["__init__"]
    for imported, expected in (({"Held": {0: "block", "inner": "block"}}, "x.{i}.block"), ({}, "x.{i}")):
        assert expected in [path for call, path in build_paths(init, {}, imported).items() if dotted(call.func) == "B"]


HELD = (
    "class Held(nn.Module):\n    def __init__(self, n, inner):\n        super().__init__()\n        {}\n"
    "    def forward(self, x):\n        return self.block(x)\n"
)


@pytest.mark.parametrize(
    ("kept", "call", "expected"),
    [
        ("self.block = inner", "Held(1, Own())", [("wrapper Held.1.inner", "block")]),
        ("self.block = inner", "Held(1, inner=Own())", [("wrapper Held.1.inner", "block")]),
        ("self.block = nn.Sequential(inner)", "Held(1, Own())", []),  # where it hangs is not known
        ("self.block = inner", "Held(1, Other())", []),  # nothing of the port
    ],
)
def test_how_an_imported_class_keeps_a_block(
    tmp_path: Path, kept: str, call: str, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / "model.py").write_text("from torch import nn\n" + HELD.format(kept))
    tree = SourceTree(tmp_path, "0")
    module = ast.parse(f"class Own:\n    pass\n\nclass A:\n    def __init__(self):\n        self.a = {call}\n")
    found = wrappers(tree, module, {"Held": f"{tmp_path.name}.model"})
    assert [(d.subject, d.value) for d in found] == expected and all(d.why.line for d in found)


def test_methods_that_the_constructor_calls() -> None:
    text = "class A:\n    def __init__(self):\n        self.f()\n    def f(self):\n        self.g(1)\n"
    node = cst.parse_module(text + "    def g(self, n):\n        h()\n    def h(self):\n        pass\n").body[0]
    assert isinstance(node, cst.ClassDef)
    assert list(constructors(node)) == ["__init__", "f", "g"]


LIST = "self.blocks = nn.ModuleList(\n            [CanvasBlock(dim, num_heads, num_kv_heads, head_dim) "
LIST += "for _ in range(num_layers)]\n        )"
BLOCK = "CanvasBlock(dim, num_heads, num_kv_heads, head_dim"


def canvas(init: str, extra: str = "") -> str:
    """The port of CANVAS with its blocks built by ``init``, and ``extra`` members of its root."""
    text = CANVAS.replace(LIST, "\n        ".join(init.splitlines()))
    assert text != CANVAS
    return port_text(
        normal_form(
            text.replace(
                "    def forward(self, hidden_states, encoder_hidden_states=None",
                f"{extra}    def forward(self, hidden_states, encoder_hidden_states=None",
            ),
            "CanvasTransformer",
        )
    )


def test_blocks_through_a_local_list_are_told_their_name() -> None:
    text = canvas(f"blocks = [{BLOCK}) for _ in range(num_layers)]\nself.blocks = nn.ModuleList(blocks)")
    want = f'{BLOCK}, quant_config=quant_config, prefix=maybe_prefix(prefix, f"blocks.{{i}}")) for i in range'
    assert want in text


def test_a_method_of_the_constructor_is_handed_them() -> None:
    extra = "    def _extra(self, dim):\n        self.extra = GatedFeedForward(dim, dim)\n\n"
    text = canvas(f"{LIST}\nself._extra(dim)\nself._other()", extra + "    def _other(self):\n        self.n = 1\n\n")
    assert "self._extra(dim, quant_config=quant_config, prefix=prefix)" in text and "self._other()" in text
    assert 'def _extra(self, dim, quant_config: QuantizationConfig | None = None, prefix: str = "")' in text
    assert 'GatedFeedForward(dim, dim, quant_config=quant_config, prefix=maybe_prefix(prefix, "extra"))' in text
