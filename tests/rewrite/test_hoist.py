"""Functions that a method defines: those that need nothing of it go to the module."""

from __future__ import annotations

from textwrap import dedent

import libcst as cst
import pytest

from omniport.rewrite.hoist import hoist_functions

ROPE = "def rope(x, cos):\n    out = x * cos\n    return torch.cat([out, x], dim=-1)\n"
CLASS = """
class A(nn.Module):
    def forward(self, q, cos):
        scale = 2
        # rotates
        {nested}
        return rope(q, cos)
"""


def module(nested: str, before: str = "import torch\n") -> cst.Module:
    body = dedent(nested).strip().replace("\n", "\n        ")
    return cst.parse_module(before + CLASS.format(nested=body))


def test_a_function_of_its_own_goes_to_the_module() -> None:
    text = hoist_functions(module(ROPE)).code
    assert text.index("\n\n\n# rotates\ndef rope(x, cos):\n    out = x * cos") < text.index("class A")
    assert text.count("def rope") == 1 and "return rope(q, cos)" in text


def test_annotations_of_the_method_are_none_of_its_locals() -> None:
    text = module(ROPE).code.replace("(self, q, cos)", "(self, q: torch.Tensor, cos: torch.Tensor)")
    assert "\ndef rope(x, cos):" in hoist_functions(cst.parse_module(text)).code


def test_the_same_function_of_two_classes_is_written_once() -> None:
    twice = cst.parse_module(module(ROPE).code + module(ROPE, "").code.replace("class A", "class B"))
    text = hoist_functions(twice).code
    assert text.count("def rope") == 1 and text.index("def rope") < text.index("class A")


def test_another_function_of_that_name_stays() -> None:
    other = module(ROPE.replace("x * cos", "x + cos"), "").code.replace("class A", "class B")
    text = hoist_functions(cst.parse_module(module(ROPE).code + other)).code
    assert text.count("def rope") == 2 and text.index("class B") < text.rindex("        def rope")


@pytest.mark.parametrize(
    ("nested", "before"),
    [
        ("def rope(x, cos):\n    return x * cos * scale\n", ""),  # a local of the method
        ("def rope(x, cos):\n    return self.rotate(x, cos)\n", ""),
        ("def rope(x, cos):\n    return rope(x, q)\n", ""),  # a parameter of the method
        ("def rope(x, cos):\n    return x\nrope = self.rope or rope\n", ""),
        (ROPE, "from somewhere import rope\n"),
        (ROPE, "def rope(x):\n    return x\n"),
    ],
)
def test_any_other_stays(nested: str, before: str) -> None:
    found = module(nested, before)
    assert hoist_functions(found) is found
