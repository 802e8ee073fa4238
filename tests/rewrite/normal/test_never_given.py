from __future__ import annotations

import pytest

from omniport.rewrite.normal.never_given import make_local
from tests.rewrite.normal.helpers import check_noop, check_transformed, each

rewrite = each(make_local)

PROGRAM = """
class A(nn.Module):
    def forward(self, x, {params}):
        y = f(x)
        # when there is one
        {first}if other is not None:
            mask = g(other)
        return h(y, mask)

class Root(nn.Module):
    def __init__(self):
        self.a = A()
        self.b = B()
    def forward(self, x):
        return {call}
"""
PARAMS = "mask=None, other=None"


def program(params: str = PARAMS, call: str = "self.a(x, other=x)", first: str = "") -> str:
    return PROGRAM.format(params=params, call=call, first=first)


def test_a_parameter_that_no_call_gives_is_a_local() -> None:
    check_transformed(rewrite, program(), program("other=None", first="mask = None\n        "))


@pytest.mark.parametrize(
    "text",
    [
        program(call="self.a(x, mask=x)"),
        program(call="self.a(x, x)"),  # by position
        program(call="self.a(x, other=x) + self.a(x, mask=x)"),
        program(call="self.a(x, **x)"),
        program(call="self.b(x)"),  # no call is known
        program().replace("mask=None", "mask=DEFAULT"),
        program().replace("mask = g(other)", "y = g(other)"),  # never set: folding's business
    ],
)
def test_any_other_stays(text: str) -> None:
    check_noop(rewrite, text)
