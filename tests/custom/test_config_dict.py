"""Settings in one dict become parameters: the same values arrive, and other uses of the dict leave it alone."""

from __future__ import annotations

import inspect
from typing import Any

import libcst as cst
import pytest

from omniport.custom.idioms.config_dict import config_dict

SOURCE = """
class Model:
    def __init__(self, config, scale, train=False):
        self.depth = config.get("depth", 6)
        self.again = config.get("depth", 6)
        self.width = config["width"] * scale
        self.name = config.get("name")
        self.rate = config.get("rate", 0.5)
        self.config = train
"""


def written(source: str, root: str = "Model") -> tuple[str, tuple[str, ...]]:
    module, gone = config_dict(cst.parse_module(source), root)
    return module.code, gone


def kind(source: str) -> Any:
    scope: dict[str, Any] = {}
    exec(compile(source, "model", "exec", dont_inherit=True), scope)  # our own text
    return scope["Model"]


def test_entries_become_parameters() -> None:
    text, gone = written(SOURCE)
    assert gone == ("config",)
    made = kind(text)
    shown = "(width, scale, depth: int = 6, name=None, rate: float = 0.5, train=False)"
    assert str(inspect.signature(made)) == shown
    for given in ({"width": 3}, {"width": 3, "depth": 2, "name": "a", "rate": 1.0}):
        expected = vars(kind(SOURCE)(given, 2, train=True))
        assert vars(made(**given, scale=2, train=True)) == expected
    broken = kind(text.replace("self.depth = depth", "self.depth = 6"))
    assert vars(broken(width=3, depth=2, scale=2)) != vars(made(width=3, depth=2, scale=2))


@pytest.mark.parametrize(
    "line",
    [
        "self.kept = config",
        "self.other = build(config)",
        "self.depth = config.get('depth', 7)",
        "self.depth = config.get('depth', 6.0)",
        "self.depth = config.get(train)",
        "self.depth = config.get('depth', train)",
        "self.depth = config.get('depth', 6, *train)",
        "config['more'] = 3",
        "config['more'] += 3",
        "del config['more']",
        "depth = 3",
        "self.size = config['scale']",
        "self.keys = list(config)",
    ],
)
def test_other_uses_leave_it_alone(line: str) -> None:
    source = SOURCE.replace("        self.config = train", f"        {line}")
    assert written(source) == (source, ())


def test_other_classes_and_signatures_are_left_alone() -> None:
    assert written(SOURCE, "Other") == (SOURCE, ())
    for head in ("config, scale, train=False, **more", "config, scale, *more, train=False"):
        source = SOURCE.replace("config, scale, train=False", head)
        assert written(source) == (source, ())
