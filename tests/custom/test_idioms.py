"""Idioms of custom repositories said plainly: the same results, and nothing where a rule does not understand."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import Any

import libcst as cst
import pytest
import torch

from omniport.custom.complete import require_attributes
from omniport.custom.idioms import plain
from omniport.custom.idioms.attention_functions import known_attention
from omniport.custom.idioms.attention_meaning import meaning
from omniport.custom.idioms.class_aliases import class_aliases
from omniport.custom.idioms.dict_arguments import dict_arguments
from omniport.custom.idioms.kernel_choice import kernel_choice
from omniport.custom.idioms.local_functions import local_functions
from omniport.custom.idioms.own_processors import own_processors
from omniport.custom.idioms.setters import setters
from omniport.custom.idioms.starred_shapes import starred_shapes
from omniport.errors import UnsupportedError

VARLEN = """
def attend(q, k, v, q_lens=None, k_lens=None, scale=None, factor=None, window=(-1, -1), dtype=None):
    assert q.device.type == "cuda"
    b, lq, out = q.size(0), q.size(1), q.dtype
    def half(x):
        return x if x.dtype == dtype else x.to(dtype)
    if q_lens is None:
        q = half(q.flatten(0, 1))
        q_lens = torch.tensor([lq] * b).to(q.device)
    else:
        q = half(torch.cat([u[:n] for u, n in zip(q, q_lens)]))
    if k_lens is None:
        k, v = half(k.flatten(0, 1)), half(v.flatten(0, 1))
        k_lens = torch.tensor([k.size(1)] * b)
    else:
        k = half(torch.cat([u[:n] for u, n in zip(k, k_lens)]))
        v = half(torch.cat([u[:n] for u, n in zip(v, k_lens)]))
    q = q.to(v.dtype)
    k = k.to(v.dtype)
    if factor is not None:
        q = q * factor
    x = flash_attn.flash_attn_varlen_func(
        q=q, k=k, v=v,
        cu_seqlens_q=torch.cat([q_lens.new_zeros([1]), q_lens]).cumsum(0),
        cu_seqlens_k=torch.cat([k_lens.new_zeros([1]), k_lens]).cumsum(0),
        max_seqlen_q=lq, max_seqlen_k=lq, softmax_scale=scale, window_size=window,
    ).unflatten(0, (b, lq))
    return x.type(out)
"""
TURNED = """
def attend(q, k, v, mode="flash"):
    if mode == "flash":
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    else:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()
"""


def function(text: str) -> ast.FunctionDef:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def test_what_a_packed_kernel_means() -> None:
    found = meaning(function(VARLEN), frozenset({"q", "k", "v"}))
    assert found is not None and not found.heads_first and found.key_lengths is None and found.cast
    found = meaning(function(VARLEN), frozenset({"q", "k", "v", "k_lens", "window", "scale"}))
    assert found is not None and found.key_lengths == "k_lens"
    assert dict(found.neutral) == {"window": (-1, -1), "scale": None}


def test_what_a_turned_kernel_means() -> None:
    found = meaning(function(TURNED), frozenset({"q", "k", "v"}))
    assert found is not None and not found.heads_first
    straight = TURNED.replace(".transpose(1, 2)", "")
    found = meaning(function(straight), frozenset({"q", "k", "v"}))
    assert found is not None and found.heads_first


@pytest.mark.parametrize(
    ("text", "given"),
    [
        (VARLEN, {"q_lens"}),  # queries of their own lengths
        (VARLEN, {"factor"}),  # queries scaled first
        (VARLEN.replace("zip(v, k_lens)", "zip(v, q_lens)"), {"k_lens"}),  # values cut otherwise than keys
        (VARLEN.replace("[k_lens.new_zeros([1]), k_lens]", "[q_lens.new_zeros([1]), q_lens]"), {"k_lens"}),
        (VARLEN.replace("k=k, v=v", "k=v, v=k"), set()),  # the kernel is given keys as values
        (VARLEN.replace("softmax_scale=scale", "softmax_scale=0.5"), set()),
        (VARLEN.replace(".unflatten(0, (b, lq))", ""), set()),
        (VARLEN.replace("return x.type(out)", "return x.type(out) * 2"), set()),
        (VARLEN.replace("max_seqlen_q", "block_table"), set()),  # an argument that nothing is known of
        (TURNED.replace("else:\n        q, k, v = q.transpose(1, 2),", "else:\n        q, k, v = q,"), set()),
        (TURNED.replace(".transpose(1, 2).contiguous()", ""), set()),  # turned on the way in alone
        (TURNED.replace("(q, k, v)", "(q, k, v, mask)"), set()),
    ],
)
def test_functions_that_mean_something_else(text: str, given: set[str]) -> None:
    assert meaning(function(text), frozenset({"q", "k", "v", *given})) is None


MODULE = """
class A(nn.Module):
    def __init__(self, window=(-1, -1)):
        super().__init__()
        self.window = window

    def forward(self, q, k, v, lens):
        return attend(q=q, k=rotate(k), v=v, k_lens=lens, window=self.window)
"""


def run(text: str, name: str, **names: Any) -> Any:
    scope: dict[str, Any] = {"torch": torch, "nn": torch.nn, **names}
    exec(text, scope)
    return scope[name]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, k_lens: Any = None, window: Any = None) -> torch.Tensor:
    """What ``VARLEN`` computes, in plain torch."""
    turned = [x.transpose(1, 2) for x in (q, k, v)]
    real = (torch.arange(k.shape[1]) < k_lens[:, None])[:, None, None]
    return torch.nn.functional.scaled_dot_product_attention(*turned, attn_mask=real).transpose(1, 2)


def dispatch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: Any = None) -> torch.Tensor:
    turned = [x.transpose(1, 2) for x in (q, k, v)]
    return torch.nn.functional.scaled_dot_product_attention(*turned, attn_mask=attn_mask[:, None, None]).transpose(1, 2)


def test_lengths_of_keys_become_a_mask() -> None:
    said = plain(VARLEN + MODULE, "A")
    assert said.attends and said.notes[0][0] == "A.forward"
    names = {"dispatch_attention_fn": dispatch, "rotate": torch.sin}
    written = run(said.text, "A", **names)
    original = run(MODULE, "A", attend=attend, rotate=torch.sin)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 5, 3, 4) for _ in range(3))
    lens = torch.tensor([5, 2])
    expected = original()(q, k, v, lens)
    assert torch.equal(written()(q, k, v, lens), expected)
    broken = run(said.text.replace(" < lens", " <= lens"), "A", **names)
    assert not torch.allclose(broken()(q, k, v, lens), expected)
    with pytest.raises(ValueError, match=r"A: window must be \(-1, -1\), not \(4, 4\)"):
        written((4, 4))


@pytest.mark.parametrize(
    "call",
    [
        "attend(q, k, v, scale=self.scale * 2)",  # neither a setting nor the neutral value
        "attend(q, k, v, window=(4, 4))",
        "attend(q, k, v.sin(), k_lens=lens)",  # the mask would need a name for the values
        "attend(*args)",
        "attend(q, k, v, unknown=1)",
    ],
)
def test_calls_that_stay(call: str) -> None:
    module = cst.parse_module(f"{VARLEN}class A:\n    def forward(self, q, k, v, lens, args):\n        return {call}\n")
    changed, notes = known_attention(module)
    assert changed.code == module.code and not notes


def test_setters() -> None:
    text = """
class A:
    @property
    def x(self):
        return self.kept
    @x.setter
    def x(self, value):
        self.kept = value + 1
    def run(self, v):
        self.x = v
        y, self.x = None, None if v is None else v
        return self.x
    def clear(self):
        self.x, self.kept = None, None
"""
    changed = setters(cst.parse_module(text)).code
    assert "self.set_x(v)" in changed and "x.setter" not in changed
    assert "self.set_x(None)\n        self.kept = None" in changed
    assert "y, self.x = None, None if v is None else v" in changed  # a value that may see the new one: Path A refuses
    assert run(changed.replace("        y, self.x = None, None if v is None else v\n", ""), "A")().run(3) == 4
    same = text.replace("    @x.setter\n", "    @other.setter\n")
    assert setters(cst.parse_module(same)).code == same


def test_starred_shapes() -> None:
    text = "def f(x, m):\n    b, s, n = *x.shape[:2], m\n    return b, s, n\n"
    changed = starred_shapes(cst.parse_module(text)).code
    assert "*" not in changed and run(changed, "f")(torch.zeros(2, 3, 4), 7) == (2, 3, 7)
    for other in (
        text.replace(", m\n", ", b\n"),  # would read the new b
        text.replace("[:2]", "[1:]"),
        text.replace("b, s, n =", "b, *s ="),
    ):
        assert starred_shapes(cst.parse_module(other)).code == other


def test_dict_arguments() -> None:
    text = (
        "def f(g, x, y):\n    kwargs = dict(a=x, b=y)\n"
        "    for i in (1, 2):\n        y2 = g(i, **kwargs)\n    return y2\n"
    )
    changed = dict_arguments(cst.parse_module(text)).code
    assert "kwargs" not in changed
    seen = run(changed, "f")(lambda i, a, b: (i, a, b), 5, 6)
    assert seen == run(text, "f")(lambda i, a, b: (i, a, b), 5, 6) == (2, 5, 6)
    for other in (
        text.replace("y2 = g", "x = g"),  # what it holds changes later
        text.replace("return y2", "return kwargs"),
        text.replace("a=x", "a=x + 1"),
        text.replace("for i in (1, 2):", "kwargs = {}\n    for i in (1, 2):"),
    ):
        assert dict_arguments(cst.parse_module(other)).code == other


def test_local_functions() -> None:
    text = (
        "def f(x, w):\n    def both(x, s):\n        y = x * s\n        return y, y + w\n"
        "    a, b = both(x, 3)\n    return a, b\n"
    )
    changed = local_functions(cst.parse_module(text)).code
    assert "def both" not in changed and run(changed, "f")(2, 10) == run(text, "f")(2, 10) == (6, 16)
    for other in (
        text.replace("return a, b", "return a, b, both"),
        text.replace("    a, b = both", "    y = 1\n    a, b = both").replace("return a, b", "return a, b, y"),
        text.replace("        y = x * s\n", "        y = x * s\n        if s: return 1, 2\n"),
        text.replace("both(x, 3)", "both(s=3, x=both(x, 2))"),
    ):
        assert local_functions(cst.parse_module(other)).code == other


def test_class_aliases() -> None:
    text = "def f(n):\n    cls = torch.nn.Linear\n    made = [cls(n, n)]\n    return made, cls\n"
    assert "cls" not in class_aliases(cst.parse_module(text)).code
    for other in (text.replace("return made", "cls = n\n    return made"), text.replace("torch.nn.Linear", "n.size")):
        assert class_aliases(cst.parse_module(other)).code == other


CHOICE = """
class A(nn.Module):
    def __init__(self, backend="torch"):
        super().__init__()
        self.backend = backend

    def forward(self, q, k, v):
        if self.backend == "torch":
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            return flash_attn_func(q, k, v)
"""


def test_choice_of_a_kernel() -> None:
    changed = kernel_choice(cst.parse_module(CHOICE)).code
    q = torch.randn(1, 2, 3, 4)
    assert torch.equal(run(changed, "A")()(q, q, q), run(CHOICE, "A")()(q, q, q))
    with pytest.raises(ValueError, match="backend must be 'torch'"):
        run(changed, "A")("flash")
    flag = CHOICE.replace('self.backend == "torch"', "not self.backend").replace('="torch"', "=False")
    changed = kernel_choice(cst.parse_module(flag)).code
    assert "if backend:" in changed and "if not False:" in changed
    for other in (
        CHOICE.replace("flash_attn_func", "my_attention"),  # another computation, for all that is known
        CHOICE.replace("self.backend = backend", "self.backend = backend.lower()"),
        CHOICE.replace('self.backend == "torch"', "q.is_cuda"),
        CHOICE.replace("class A", "def flash_attn_func(q, k, v): return q\n\nclass A"),  # the repository's own
    ):
        assert kernel_choice(cst.parse_module(other)).code == other


PROCESSORS = """
class P:
    def __init__(self, heads=None, backend="torch"):
        self.heads = heads
        self.backend = backend

    def __call__(self, attn, x, mask=None):
        return attn.scale * x + (self.heads if mask is None else mask)

class A(nn.Module):
    def __init__(self, processor, scale: int):
        super().__init__()
        self.processor = processor
        self.scale = scale

    def forward(self, x, c=None, mask=None):
        if c is not None:
            return self.processor(self, x, c=c, mask=mask)
        else:
            return self.processor(self, x, mask=mask)

class B(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.attn = A(processor=P(heads=heads), scale=2)

    def forward(self, x, mask=None, c=None):
        return self.attn(x, c=c, mask=mask)
"""


def test_processors_with_settings() -> None:
    changed = own_processors(cst.parse_module(PROCESSORS)).code
    assert "A(heads=heads, scale=2)" in changed and "self.processor" not in changed
    for mask in (None, 4):
        assert run(changed, "B")(7)(1, mask) == run(PROCESSORS, "B")(7)(1, mask)
    for text in (changed, PROCESSORS):
        with pytest.raises(TypeError):
            run(text, "B")(7)(1, None, 5)
    for other in (
        PROCESSORS.replace("scale: int", "heads: int"),  # names meet
        PROCESSORS.replace("processor=P(heads=heads)", "processor=make(heads)"),
        PROCESSORS + "\nclass Q(P):\n    pass\n\nx = A(processor=Q(heads=1), scale=3)\n",
        PROCESSORS.replace("        self.processor = processor\n", "        self.processor = wrap(processor)\n"),
    ):
        assert own_processors(cst.parse_module(other)).code == other


def test_an_attribute_that_got_lost() -> None:
    source = (
        "class A(nn.Module):\n    def __init__(self, p):\n        self.p = p\n"
        "    def forward(self, x):\n        return self.p(x)\n"
    )
    require_attributes(source, source, "f.py")
    with pytest.raises(UnsupportedError, match=r"A reads self\.p, which nothing sets"):
        require_attributes(source.replace("self.p = p", "pass"), source, "f.py")
    never = source.replace("self.p(x)", "self.p(self.never)")
    require_attributes(never, never, "f.py")  # the original's own fault


def test_nothing_to_say() -> None:
    text = "class A(nn.Module):\n    def forward(self, x):\n        return self.norm(x)\n"
    assert plain(text, "A").text == text and not plain(text, "A").attends
    assert SimpleNamespace(**vars(plain(text, "A"))).notes == ()
