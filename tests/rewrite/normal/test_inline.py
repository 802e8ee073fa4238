"""Processors and helpers move into the attention class; what cannot move is refused."""

from __future__ import annotations

from textwrap import dedent

import libcst as cst
import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.normal.inline_function import inline_functions
from omniport.rewrite.normal.inline_processor import block_masks, has_handover, inline_processor
from tests.rewrite.normal.helpers import Classes, check_noop, check_transformed, classes

HELPERS = {
    "_project": "def _project(attn, x):\n    return attn.q(x), attn.k(x)\n",
    "_early": "def _early(attn, x):\n    if attn.fused:\n        return attn.qk(x)\n"
    "    y = attn.q(x)\n    return y, attn.k(x)\n",
    "_looped": "def _looped(attn, x):\n    for l in attn.ls:\n        return l(x)\n",
    "_half": "def _half(attn, x):\n    if attn.fused:\n        if x is None:\n            return x\n"
    "    return attn.q(x)\n",
    "_again": "def _again(attn, x):\n    return _again(attn, x)\n",
    "_clash": "def _clash(attn, x):\n    y = attn.q(x)\n    return y + 1\n",
    "_attend": "def _attend(q, k, scale=None):\n    'Causal.'\n    if scale is None:\n"
    "        return dispatch_attention_fn(q, k, k)\n    return dispatch_attention_fn(q, k, k, scale=scale)\n",
    "_starred": "def _starred(attn, *xs):\n    return attn.q(xs)\n",
}


def lookup(name: str) -> cst.FunctionDef | None:
    if name not in HELPERS:
        return None
    node = cst.parse_module(HELPERS[name]).body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def inline(found: Classes) -> Classes:
    return {name: inline_functions(node, lookup) for name, node in found.items()}


def method(body: str) -> str:
    lines = "\n".join(f"        {line}" for line in body.split("\n"))
    return f"class A(nn.Module):\n    def forward(self, x):\n{lines}\n"


@pytest.mark.parametrize(
    "body",
    [
        "return x",
        "q = unknown(self, x)\nreturn q",
        "q = _project(other, x)\nreturn q",  # not handed the module itself
        "return torch.cat(x)",
    ],
)
def test_kept(body: str) -> None:
    check_noop(inline, method(body))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("q, k = _project(self, x)\nreturn q * k", "q, k = self.q(x), self.k(x)\nreturn q * k"),
        ("return _project(self, x)", "return self.q(x), self.k(x)"),
        (
            "q, k = _early(self, x)\nreturn q",
            "if self.fused:\n    q, k = self.qk(x)\nelse:\n    y = self.q(x)\n    q, k = y, self.k(x)\nreturn q",
        ),
        (
            "scale = 2\nz = _attend(x, self.k(x))\nreturn z * scale",  # of its default, not of the local of that name
            "scale = 2\nk = self.k(x)\nif None is None:\n    z = dispatch_attention_fn(x, k, k)\n"
            "else:\n    z = dispatch_attention_fn(x, k, k, scale=None)\nreturn z * scale",
        ),
        ("y = x + 1\nz = _clash(self, y)\nreturn z + y", "y = x + 1\ny_ = self.q(y)\nz = y_ + 1\nreturn z + y"),
    ],
)
def test_inlined(before: str, after: str) -> None:
    check_transformed(inline, method(before), method(after))


@pytest.mark.parametrize("name", ["_looped", "_half", "_again", "_starred"])
def test_refused(name: str) -> None:
    with pytest.raises(UnsupportedError):
        inline(classes(method(f"q = {name}(self, x)\nreturn q")))


ATTENTION = """
class A(nn.Module):
    def forward(self, x, mask=None, **kwargs):
        unused = [k for k in kwargs]
        return self.processor(self, x, mask)
"""


def processor(body: str) -> cst.FunctionDef:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    node = cst.parse_module(f"def __call__(self, attn, x, attention_mask=None, scale=1.0):\n{lines}\n").body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def inlined(body: str, **constants: object) -> str:
    node = inline_processor(classes(ATTENTION)["A"], processor(body), constants)
    return cst.Module([node]).code


def test_the_processor_becomes_the_forward() -> None:
    text = inlined("return attn.q(x) + attention_mask")
    assert "return self.q(x) + mask" in text
    assert "kwargs" not in text and "processor" not in text


def test_a_parameter_the_attention_does_not_give_keeps_its_default() -> None:
    assert "scale = 1.0" in inlined("return attn.q(x) * scale")


def test_class_attributes_of_the_processor_are_constants() -> None:
    assert "attend(x, None)" in inlined("return attend(x, self._backend)", _backend=None)


def test_state_of_the_processor_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"reads self\.scale_by_layer"):
        inlined("return attn.q(x) * self.scale_by_layer")


def test_a_forward_without_processor_is_refused() -> None:
    node = classes("class A(nn.Module):\n    def forward(self, x):\n        return x\n")["A"]
    assert not has_handover(node)
    with pytest.raises(UnsupportedError, match="calls no processor"):
        inline_processor(node, processor("return x"), {})


def test_a_renamed_parameter_that_is_set_is_assigned_first() -> None:
    text = inlined("attention_mask = attention_mask + 1\nreturn attn.q(x) + attention_mask")
    assert dedent(text).index("attention_mask = mask") < text.index("attention_mask = attention_mask + 1")


def test_what_the_attention_puts_into_kwargs_is_given() -> None:
    filled = ATTENTION.replace("unused = [k for k in kwargs]", 'kwargs["scale"] = x.shape[1]').replace(
        "x, mask)", "x, **kwargs)"
    )
    node = inline_processor(classes(filled)["A"], processor("return attn.q(x) * scale"), {})
    assert "scale = x.shape[1]" in cst.Module([node]).code


def test_an_argument_prepared_otherwise_is_refused() -> None:
    changed = ATTENTION.replace("unused = [k for k in kwargs]", "x = x * 2")
    with pytest.raises(UnsupportedError, match="prepares arguments of its processor"):
        inline_processor(classes(changed)["A"], processor("return attn.q(x)"), {})


GIVING = """
class A(nn.Module):
    def forward(self, x, **kwargs):
        return self.processor(self, x, **kwargs)
"""


def test_what_the_processor_requires_comes_through_the_kwargs() -> None:
    call = cst.parse_module(
        "def __call__(self, attn, x, rotary, scale=1.0):\n    return attn.q(x, rotary) * scale\n"
    ).body[0]
    assert isinstance(call, cst.FunctionDef)
    text = cst.Module([inline_processor(classes(GIVING)["A"], call, {})]).code
    assert "def forward(self, x, rotary, scale=1.0):" in text
    optional = GIVING.replace("x, **kwargs):", "x, mask=None, **kwargs):")  # nothing required may come after it
    with pytest.raises(UnsupportedError, match="gives its processor no rotary"):
        inline_processor(classes(optional)["A"], call, {})


@pytest.mark.parametrize(
    ("backend", "constants", "refused"),
    [
        ("self._attention_backend", {"_attention_backend": "flex"}, True),
        ("AttentionBackendName.FLEX", {}, True),
        ("self._attention_backend", {"_attention_backend": None}, False),
        ("AttentionBackendName.NATIVE", {}, False),
        ("backend", {"_attention_backend": "flex"}, False),  # another backend than the processor's
    ],
)
def test_flex_attention_is_refused(backend: str, constants: dict[str, str | None], refused: bool) -> None:
    body = f"x = attend(x, backend={backend})\nreturn attn.out(x)"
    if refused:
        with pytest.raises(UnsupportedError, match="processor of A attends by flex attention, whose block masks"):
            inlined(body, **constants)
    else:
        assert "attend(x, backend=" in inlined(body, **constants)


def test_a_refusal_says_where_block_masks_are_made() -> None:
    assert "line 2 by create_block_mask" in block_masks(["import x", "return create_block_mask("])
    assert block_masks(["from torch import create_block_mask", "return x"]) == ""
