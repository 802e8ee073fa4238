"""Types of what the loop takes from the code ahead of it: told where reading tells them, left out where it does not."""

from __future__ import annotations

import textwrap

import pytest

from omniport.rewrite.pipeline.parameter_types import with_parameter_types
from omniport.source.syntax import code
from tests.pipeline.helpers import function

INIT = """
def __init__(self, size: int = 2):
    self.scale = 2 ** 3 if size else 8
    self.ratio = size // 2
    self.limit = size
    self.name = other()
"""
OTHERS = [
    "def annotated(self, a) -> tuple[torch.LongTensor, int]:\n    return a\n",
    "def read(self, latents, count):\n    if latents is None:\n        return None, count\n"
    "    return torch.cat([latents]), count\n",
    "def several(self, a):\n    if a:\n        return unknown(a), torch.zeros(2)\n    return 0, torch.ones(2)\n",
    "def itself(self, a):\n    return self.itself(a)\n",
]


def types(body: str, parameter: str = "x", *, start: str = "") -> str:
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    entry = f"def forward(self, req, given: torch.FloatTensor, maybe: int | None = None):\n{lines}\n"
    if "self.diffuse" not in body:
        entry += "    out = self.diffuse(x=x)\n"
    methods = [function(INIT), *map(function, OTHERS), function(f"{entry}    return out\n")]
    methods.append(function(f"def diffuse(self, {start}{parameter}):\n    return x\n"))
    new = with_parameter_types(methods)
    assert all(a is b for a, b in zip(new[:-1], methods[:-1], strict=True))
    return code(new[-1].params).removeprefix("self, ")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("x = torch.full([1], 2.0)", "torch.Tensor"),
        ("x = given", "torch.Tensor"),
        ("x = given.to(self.vae.dtype).unsqueeze(0)[:, 1:] * 2", "torch.Tensor"),
        ("x = given.shape[0] // 2", "int"),
        ("_, x = given.shape", "int"),
        ("x = self.od_config.dtype", "torch.dtype"),
        ("x = len(req) * 2 + int(req)", "int"),
        ("x = len(req) / 2", "float"),
        ("x = max(len(req) - 3, 0)", "int"),
        ("x = self.transformer.in_channels", "int"),
        ("x = self.limit * 2", "int"),
        ("x = req is None and not req", "bool"),
        ("x = given[0], len(req)", "tuple[torch.Tensor, int]"),
        ("x = []", "list"),
        ("x = [3] * len(req)", "list"),
        ("x = None\nif req:\n    x = torch.zeros(2)", "torch.Tensor | None"),
        ("if req:\n    x = torch.zeros(2)\nelse:\n    raise ValueError", "torch.Tensor"),
        ("x = maybe\nif x is None:\n    x = 3", "int"),
        ("x = maybe or 3", "int"),
        ("x = maybe", "int | None"),
        ("x, n = self.annotated(req)", "torch.Tensor"),
        ("n, x = self.annotated(req)", "int"),
        ("x, n = self.read(given, 3)", "torch.Tensor | None"),
        ("n, x = self.read(given, 3)", "int"),
        ("n, x = self.several(req)", "torch.Tensor"),
        ("x = None\nfor i in req:\n    x = torch.zeros(i)", "torch.Tensor | None"),
        ("x = given\nfor i in req:\n    x = x.to(i)", "torch.Tensor"),
        ("x = None\nfor i in req:\n    out = self.diffuse(x=x)\n    x = given", "torch.Tensor | None"),
        ("target = (2, 3)\ntarget = torch.tensor([target])\nx = target", "torch.Tensor"),
        ("with a:\n    x = 3", "int"),
    ],
)
def test_what_reading_tells_is_written(body: str, kind: str) -> None:
    assert types(body) == f"x: {kind}"


@pytest.mark.parametrize(
    "body",
    [
        "x = unknown(req)",
        "x = req",
        "x = None",  # nothing else is ever passed: that is no type to tell
        "x = 3\nif req:\n    x = unknown(req)",
        "x, n = self.several(req)",
        "x = self.itself(req)",
        "x = self.name",
        "x = 3\nx += req",
        "x = given.max(dim=1)",  # values and indices
        "x = given >= 2",  # a tensor of answers, not one
        "x = req > 2",
        "x = req + 2",
        "x = 2 ** len(req)",  # of a negative one no int
        "x, n = given, *req\nx = n",
        "for x in req:\n    pass",
        "x = 3 if req else 'a' if given else []",  # of three kinds
        "out = self.diffuse(**req)",
        "out = self.diffuse(x=3)\nout = self.diffuse(x=unknown(req))",
    ],
)
def test_what_it_does_not_tell_is_left_out(body: str) -> None:
    assert types(body) == "x"


def test_several_calls_join() -> None:
    assert types("out = self.diffuse(x=3)\nout = self.diffuse(x=None)") == "x: int | None"


def test_a_type_that_is_there_stays() -> None:
    assert types("x = 3", "x: float") == "x: float"


def test_without_a_loop_of_its_own_nothing_changes() -> None:
    methods = [function("def forward(self, req):\n    return req\n")]
    assert with_parameter_types(methods) == methods
