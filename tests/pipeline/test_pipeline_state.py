"""What a request asks for is no attribute of the pipeline where the call alone reads it."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from omniport.rewrite.pipeline.state import with_local_state
from omniport.source.syntax import code
from tests.pipeline.helpers import block

SCALE = """
@property
def guidance_scale(self):
    return self._guidance_scale
"""
GUIDED = """
@property
def guided(self):
    '''Whether it is on.'''
    return self._guidance_scale > 1 and not self.distilled
"""
CALL = """
def __call__(self, latents, guidance_scale=4.0):
    self.check(latents)

    self._guidance_scale = guidance_scale

    if self.guided:
        latents = latents * self.guidance_scale
    return latents, self.guided
"""


def run(*sources: str, kept: tuple[str, ...] = ()) -> str | None:
    methods = {}
    for source in sources:
        node = block(source)[0]
        assert isinstance(node, cst.FunctionDef)
        methods[node.name.value] = node
    new = with_local_state(methods, "__call__", kept)
    return None if new is None else code(new).strip()


def call(*lines: str) -> str:
    return "def __call__(self, x, scale, flag=None):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def test_the_call_reads_its_own_local() -> None:
    assert run(CALL, SCALE, GUIDED) == textwrap.dedent("""\
        def __call__(self, latents, guidance_scale=4.0):
            self.check(latents)

            guided = guidance_scale > 1 and not self.distilled

            if guided:
                latents = latents * guidance_scale
            return latents, guided""")


def test_a_blank_line_stays_where_the_store_was() -> None:
    new = run(call("x = f(x)", "", "self._scale = scale", "x = x * self._scale", "return x"))
    assert new is not None
    assert "x = f(x)\n\n    x = x * scale" in new


def test_a_comment_on_the_store_goes_with_it() -> None:
    new = run(call("x = f(x)", "# for callbacks", "self._scale = scale", "return x * self._scale"))
    assert new is not None
    assert "callbacks" not in new


def test_a_comment_stays_over_the_formula_that_takes_its_place() -> None:
    new = run(CALL.replace("    self._g", "    # 2. Guidance\n    self._g"), SCALE, GUIDED)
    assert new is not None
    assert "# 2. Guidance\n    guided = " in new


def test_a_value_that_is_stored_again_has_a_local_of_its_own() -> None:
    lines = (
        "self._scale = scale",
        "for t in x:",
        "    if t:",
        "        self._scale = 1 + scale * t",
        "    f(self._scale)",
    )
    new = run(call(*lines))
    assert new is not None
    for line in ("current_scale = scale", "current_scale = 1 + scale * t", "f(current_scale)"):
        assert line in new
    assert "self._scale" not in new


def test_a_value_without_a_name_gets_the_attributes() -> None:
    new = run(call("self._rate = float(scale)", "return x * self._rate"))
    assert new is not None
    assert "rate = float(scale)\n    return x * rate" in new


def test_properties_of_properties_are_formulas_of_locals() -> None:
    both = "@property\ndef both(self):\n    return self.guided or self._other > 0\n"
    store = "self._guidance_scale = scale\n    self._other = flag"
    new = run(
        CALL.replace("self._guidance_scale = guidance_scale", store).replace("self.guided:", "self.both:"), both, GUIDED
    )
    assert new is not None
    assert "both = (scale > 1 and not self.distilled) or flag > 0" in new


def test_a_formula_whose_name_is_taken_stands_where_it_is_read() -> None:
    new = run(CALL.replace("self.check(latents)", "guided = self.check(latents)"), SCALE, GUIDED)
    assert new is not None
    assert "if (guidance_scale > 1 and not self.distilled):" in new


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("return x * self._scale",), "never stored"),
        (("f(self._scale)", "self._scale = scale", "return self._scale"), "read ahead of the store"),
        (("if x:", "    self._scale = scale", "return self._scale"), "stored on one path only"),
        (("self._scale = scale", "scale = scale * 2", "return self._scale"), "the local changes"),
        (("self._scale = scale", "for scale in x:", "    pass", "return self._scale"), "a loop takes the local"),
        (("self._scale = scale", "return [self._scale for scale in x]"), "a comprehension takes the local"),
        (("self._scale = scale", "return (lambda scale: self._scale)(x)"), "a function takes the local"),
        (("self._scale = scale", "self._scale += 1", "return self._scale"), "changed in place"),
        (("self._scale, x = scale, x", "return self._scale"), "stored beside another"),
        (("self._scale = scale", "for self._scale in x:", "    f(self._scale)"), "a loop stores it"),
        (("self._scale = scale", "del self._scale", "return x"), "deleted"),
        (("self._scale = scale", 'return getattr(self, "_scale", 1)'), "read by name"),
        (("self.scale = scale", "return self.scale"), "others may read it"),
        (("current_scale = 1", "self._scale = scale", "self._scale = x", "return self._scale"), "the name is taken"),
    ],
)
def test_state_stays(lines: tuple[str, ...], why: str) -> None:
    assert run(call(*lines)) is None, why


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("def encode(self):\n    return self._guidance_scale\n", "a method reads it"),
        ("def encode(self):\n    return self.guided\n", "a method reads the property"),
        ("def encode(self):\n    self._guidance_scale = 2\n", "a method stores it"),
        ("def encode(self):\n    self.distilled = False\n", "the formula changes"),
    ],
)
def test_state_that_other_methods_share_stays(method: str, why: str) -> None:
    assert run(CALL, SCALE, GUIDED, method) is None, why


@pytest.mark.parametrize(
    ("formula", "why"),
    [
        ("    x = self._guidance_scale\n    return x > 1\n", "more than a formula"),
        ("    return check(self._guidance_scale)\n", "a call"),
        ("    return self._guidance_scale > LIMIT\n", "a name of the module"),
        ('    return getattr(self, "_guidance_scale", 1.0) > 1\n', "read by name"),
    ],
)
def test_a_property_that_is_no_formula_keeps_the_state(formula: str, why: str) -> None:
    assert run(CALL, SCALE, f"@property\ndef guided(self):\n{formula}") is None, why


def test_a_method_that_others_call_keeps_the_state() -> None:
    assert run(CALL, SCALE, GUIDED, kept=("guided",)) is None


def test_a_formula_of_a_value_that_changes_keeps_the_state() -> None:
    again = CALL.replace("return", "self._guidance_scale = 0\n    return")
    assert run(again, SCALE, GUIDED) is None


def test_state_that_the_constructor_begins_with_is_local() -> None:
    new = run(CALL, SCALE, GUIDED, "def __init__(self):\n    self._guidance_scale = 1.0\n")
    assert new is not None
    assert "_guidance_scale" not in new.replace("guidance_scale", "")
