"""What uses a component that the model does not have says so, and nothing that only served it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.rewrite.pipeline.absent import stopped, whole
from omniport.rewrite.pipeline.evaluate import Facts
from omniport.rewrite.pipeline.fold import constant_locals, fold_block
from omniport.rewrite.pipeline.normal import Request, normalise
from omniport.source.tree import SourceModule
from tests.pipeline.helpers import block, text

ABSENT = {"self.enhancer": "enhancer"}
REFUSING = {"self.enhance": "enhancer"}
STOP = 'raise ValueError("This needs `enhancer`, which the model does not have.")\n'

PIPELINE = '''
class Pipe:
    def __init__(self, text_encoder, enhancer=None):
        self.register_modules(text_encoder=text_encoder, enhancer=enhancer)

    def enhance(self, prompt, seed=10):
        """Make a prompt longer."""
        model = self.enhancer if self.enhancer is not None else self.text_encoder
        if seed is None:
            seed = 0
        ids = self.enhancer.tokenizer(prompt)
        return model.generate(ids, seed)

    def __call__(self, prompt, enhanced=False, seed=10):
        if enhanced:
            prompt = self.enhance(prompt, seed=seed)
        return self.text_encoder(prompt)
'''


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = self.enhancer.generate(y)\nuse(x)\n", STOP),
        ("x = self.enhancer(y)\nuse(x)\n", STOP),
        ("# why\nx = f(self.enhancer[0])\n", f"# why\n{STOP}"),
        ("a()\nself.enhance(y)\nb()\n", f"a()\n{STOP}"),
        ("if x:\n    y = 1\n    self.enhance(y)\n    b()\nc()\n", f"if x:\n    {STOP}c()\n"),
        ("if x:\n    self.enhance(1)\nelse:\n    self.enhance(2)\nc()\n", STOP),
        (
            "if x:\n    a()\nelif y:\n    self.enhance(1)\nelse:\n    self.enhance(2)\n",
            f"if x:\n    a()\nelse:\n    {STOP}",
        ),
        ("for x in y:\n    self.enhance(x)\n    b()\n", f"for x in y:\n    {STOP}"),
        ("if self.enhancer.training:\n    b()\n", STOP),
        (
            "for x in y:\n    for z in x:\n        break\n    self.enhance(x)\n",
            f"for x in y:\n    for z in x:\n        break\n    {STOP}",
        ),
        ("x = self.enhance(y) if y else None\n", f"if y:\n    {STOP}x = None\n"),
    ],
)
def test_what_uses_an_absent_component_says_so(source: str, expected: str) -> None:
    assert text(stopped(block(source), ABSENT, REFUSING)) == expected


@pytest.mark.parametrize(
    "source",
    [
        "x = self.enhancer\n",
        "x = self.enhancer is None\n",
        "x = y and self.enhancer.dtype\n",
        "f = lambda x: self.enhancer(x)\n",
        "f = [self.enhancer(x) for x in y]\n",
        "try:\n    self.enhance(x)\nexcept ValueError:\n    b()\n",
        "x = self.other.enhancer(y)\n",
        "x = self.enhanced(y)\n",
        "def f(x):\n    return self.enhancer(x)\n",
    ],
)
def test_what_need_not_use_it_stays(source: str) -> None:
    assert text(stopped(block(source), ABSENT, REFUSING)) == source


def test_a_way_out_before_the_refusal_is_kept() -> None:
    source = "if x:\n    return y\nself.enhance(x)\n"
    assert text(whole(stopped(block(source), ABSENT, REFUSING), ABSENT)) == f"if x:\n    return y\n{STOP}"
    loop = "for x in y:\n    if x:\n        break\nself.enhance(x)\n"
    assert text(whole(stopped(block(loop), ABSENT, REFUSING), ABSENT)) == STOP


MODULE = SourceModule("pipe", Path("pipe.py"), "pipe.py", PIPELINE)


def _request(values: tuple[tuple[str, None], ...]) -> Request:
    init = tuple((name.removeprefix("self."), value) for name, value in values)
    return Request((), values, (), frozenset(), frozenset(), frozenset(), init=init)


def test_a_method_that_can_only_fail_goes_with_all_that_it_was_given() -> None:
    normal = normalise(MODULE, "Pipe", _request((("self.enhancer", None),)))
    assert normal.dropped_methods == ("enhance",)
    entry = text([normal.entry])
    assert "raise ValueError" in entry and "`enhancer`" in entry and "self.enhance" not in entry
    assert "prompt = " not in entry


def test_with_the_component_everything_stays() -> None:
    normal = normalise(MODULE, "Pipe", _request(()))
    assert not normal.dropped_methods
    assert "self.enhancer.tokenizer(prompt)" in text([normal.methods["enhance"]])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = y is None and gone is not None\n", "x = False\n"),
        ("x = y is None or gone is None\n", "x = True\n"),
        ("x = y is None and gone is None\n", "x = y is None\n"),
        ("x = not y or gone is not None\n", "x = not y\n"),
        ("x = y and gone is not None\n", "x = y and None is not None\n"),  # y itself where it is false
        ("x = f() > 1 and gone is not None\n", "x = f() > 1 and None is not None\n"),  # f may have an effect
    ],
)
def test_the_right_side_decides_where_the_left_one_is_a_truth(source: str, expected: str) -> None:
    assert text(fold_block(block(source), Facts(values={"gone": None}))) == expected


def test_locals_of_one_constant() -> None:
    source = (
        "a = None\nb: int | None = None\nc = False\nd = False\nd = True\ne = 1\nfor f in g:\n    h = True\nf = None\n"
    )
    assert constant_locals(block(source)) == {"a": None, "b": None, "c": False, "h": True}
