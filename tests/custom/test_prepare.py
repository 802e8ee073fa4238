"""Loaders, savers, initialisers and shapes in annotations go; everything else stays as it is."""

from __future__ import annotations

import pytest

from omniport.custom.prepare import prepare


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    def forward(self, x): return x\n",
        "class A:\n    def load_checkpoint(self, path): self.path = path\n",  # an instance's own method
        "def init_weights(m): pass\n",  # a function
        "class A:\n    def f(self, x: list['A']): return x\n",
        "class A:\n    def f(self, x: int) -> 'A': return self\n",
        "class A:\n    def f(self):\n        def init_weights(): pass\n        return init_weights\n",
    ],
)
def test_stays(text: str) -> None:
    assert prepare(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "left", "removed"),
    [
        (
            "class A:\n    size = 1\n    @classmethod\n    def from_pretrained(cls, path): return cls()\n",
            "class A:\n    size = 1\n",
            ("A.from_pretrained",),
        ),
        (
            "class A:\n    def __init__(self):\n        self.x = 1\n        self.init_weights()\n"
            "    def init_weights(self): pass\n",
            "class A:\n    def __init__(self):\n        self.x = 1\n",
            ("A.init_weights",),
        ),
        (
            "class A:\n    def f(self, x: float['b n d'], y: int) -> float['b']: return x\n",
            "class A:\n    def f(self, x, y: int): return x\n",
            (),
        ),
        ("def f(x: float['b']): return x\n", "def f(x): return x\n", ()),
        ("class A:\n    def f(self, x: Optional['Gone']): return x\n", "class A:\n    def f(self, x): return x\n", ()),
    ],
)
def test_goes(text: str, left: str, removed: tuple[str, ...]) -> None:
    assert prepare(text) == (left, removed)
