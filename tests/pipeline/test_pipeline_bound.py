"""Parameters of a pipeline's methods that every call gives one constant: bound where it only decides conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.rewrite.pipeline.normal import Request, normalise
from omniport.source.tree import SourceModule
from tests.pipeline.helpers import text

PIPELINE = """
class Pipe(DiffusionPipeline):
    def __init__(self, transformer):
        self.register_modules(transformer=transformer)

    def check(self, prompt, steps=None, more=False):
        {body}
        return prompt

    def __call__(self, prompt, callback_steps=1, other=1):
        prompt = {calls}
        return prompt
"""
STEPS = """if steps is None or (steps is not None and (not isinstance(steps, int) or steps <= 0)):
            raise E(steps)"""


def entry(body: str, calls: str = "self.check(prompt, callback_steps)", given: int | None = 1) -> tuple[str, str]:
    """The method and the call after the parameter ``callback_steps`` was bound."""
    source = PIPELINE.format(body=body, calls=calls)
    request = Request((("callback_steps", given),), (), (), frozenset(), frozenset(), frozenset())
    normal = normalise(SourceModule("pipe", Path("pipe.py"), "pipe.py", source), "Pipe", request)
    return text([normal.methods["check"]]), text([normal.entry])


def test_a_number_that_only_decides_conditions_goes() -> None:
    method, call = entry(STEPS)
    assert "steps" not in method and "raise" not in method
    assert "self.check(prompt)" in call


def test_a_number_that_is_wrong_is_still_refused() -> None:
    method, call = entry(STEPS, given=0)
    assert "raise E(steps)" in method and "self.check(prompt, 0)" in call


@pytest.mark.parametrize(
    ("calls", "kept"),
    [
        ("self.check(prompt, more=True)", "x = 1"),
        ("self.check(self.check(prompt, more=True), more=True)", "x = 1"),
        ("self.check(prompt, more=False)", "y = 1"),
        ("self.check(self.check(prompt, more=False))", "y = 1"),  # which is the default
    ],
)
def test_true_and_false_choose_the_branch(calls: str, kept: str) -> None:
    method, call = entry(
        "if more:\n            x = 1\n            f(x)\n        else:\n            y = 1\n            f(y)", calls
    )
    assert kept in method and "more" not in method and "more" not in call


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("prompt = prompt * steps", "self.check(prompt, callback_steps)"),  # written out it would say less
        ("if steps > 0:\n            prompt = f(steps)", "self.check(prompt, callback_steps)"),
        ("if steps > 0:\n            prompt = f(prompt)", "self.check(self.check(prompt, 2), callback_steps)"),
        ("if steps > 0:\n            prompt = f(prompt)", "self.check(self.check(prompt), callback_steps)"),
        ("if steps > 0:\n            prompt = f(prompt)", "self.check(self.check(prompt, other), callback_steps)"),
        ("if steps > 0:\n            prompt = f(prompt)", "self.check(prompt, True if prompt else 1)"),
    ],
)
def test_what_is_read_or_differs_stays(body: str, calls: str) -> None:
    method, _ = entry(body, calls)
    assert "steps" in method


STARS = """
class Pipe(DiffusionPipeline):
    def __init__(self, transformer):
        self.register_modules(transformer=transformer)

    def check(self, prompt, **kwargs):
        return {returned}

    def __call__(self, prompt):
        return {calls}
"""


def starred(returned: str, calls: str) -> str:
    source = STARS.format(returned=returned, calls=calls)
    request = Request((), (), (), frozenset(), frozenset(), frozenset())
    return text([normalise(SourceModule("pipe", Path("pipe.py"), "pipe.py", source), "Pipe", request).methods["check"]])


def test_arguments_of_any_name_go_where_no_call_gives_one_and_nothing_reads_them() -> None:
    assert "def check(self, prompt):" in starred("f(prompt)", "self.check(prompt)")


@pytest.mark.parametrize(
    ("returned", "calls"),
    [
        ("f(prompt, **kwargs)", "self.check(prompt)"),
        ("f(prompt)", "self.check(prompt, lora_scale=1)"),
        ("f(prompt)", "self.check(prompt, **more)"),
        ("f(prompt)", "map(self.check, prompt)"),
    ],
)
def test_arguments_of_any_name_stay_elsewhere(returned: str, calls: str) -> None:
    assert "**kwargs" in starred(returned, calls)
