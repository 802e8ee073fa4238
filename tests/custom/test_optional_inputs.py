"""Nobody shows what a repository's denoiser is called with: what it compares with None may be None."""

from __future__ import annotations

from pathlib import Path

import libcst as cst

from omniport.analyse.binding import compared_with_none
from omniport.custom import read_repository
from omniport.custom.code import read_code
from omniport.custom.transformer import port_transformer
from tests.custom.test_submodels import changed

HEAD = "    def forward(self, x, t):\n        x = self.patch"
GIVEN = HEAD.replace("t):\n", "t, extra):\n        if extra is not None:\n            x = x + extra\n")


def forward(tmp_path: Path, new: str) -> str:
    source = changed(tmp_path, "fusion", "duet/modules/stack.py", HEAD, new)
    roles = read_repository(source, "duet/modules/stack.py:StackModel")
    assert roles.backbone is not None
    made = port_transformer(read_code(source), roles.backbone, roles.dependencies)
    assert made.native
    return made.code[made.code.index("def forward(self, x, t") :]


def test_a_parameter_without_default_that_is_compared_with_none(tmp_path: Path) -> None:
    text = forward(tmp_path, GIVEN)
    assert "if extra is not None:\n            x = x + extra\n" in text


def test_what_is_not_compared_is_given() -> None:
    text = "def f(a, b, c, d):\n    if a is not None or (b is None):\n        return c == None\n    return d is a\n"
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.FunctionDef)
    assert compared_with_none(node) == {"a", "b"}
