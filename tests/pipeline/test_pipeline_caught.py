"""A handler that leaves a result unbound goes; one that has another use stays."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.caught import without_lost_results
from tests.pipeline.helpers import function, text

LOST = """
def forward(self, latents, kind):
    if kind == "latent":
        image = latents
    else:
        module = getattr(torch, get_device(), torch.cuda)
        oom_error = torch.OutOfMemoryError if new() else module.OutOfMemoryError
        # decode
        try:
            # now
            image = self.vae.decode(latents)[0]
        except oom_error as e:
            warnings.warn(f"{e}. Try tiling")
        if kind == "cut":
            image = cut(image)
    return image
"""


def test_the_error_itself_is_raised() -> None:
    new = text([without_lost_results(function(LOST))])
    assert "try:" not in new and "except" not in new and "oom_error" not in new and "module" not in new
    assert new.index("# decode") < new.index("# now") < new.index("image = self.vae.decode(latents)[0]")
    assert 'if kind == "latent":\n        image = latents\n' in new and new.endswith("return image\n")


def test_what_else_reads_the_error_keeps_it() -> None:
    source = LOST.replace("    return image", "    self.kind = oom_error\n    return image")
    new = text([without_lost_results(function(source))])
    assert "try:" not in new and "oom_error = torch.OutOfMemoryError if new()" in new and "module = getattr" in new


@pytest.mark.parametrize(
    ("old", "other"),
    [
        ('warnings.warn(f"{e}. Try tiling")', "image = latents"),  # the handler gives a result
        ('warnings.warn(f"{e}. Try tiling")', "raise ValueError(str(e)) from e"),
        ('warnings.warn(f"{e}. Try tiling")', "return None"),
        ('warnings.warn(f"{e}. Try tiling")', "pass"),  # what it hides is not told by anything
        ('warnings.warn(f"{e}. Try tiling")', "self.fail()"),
        ("        # decode\n", "        image = None\n"),  # bound before
        ("            image = self.vae", "            self.image = self.vae"),  # binds nothing that is read
        ('        if kind == "cut":', '        finally:\n            free()\n        if kind == "cut":'),
    ],
)
def test_other_handlers_stay(old: str, other: str) -> None:
    assert old in LOST
    node = function(LOST.replace(old, other))
    assert without_lost_results(node) is node


def test_a_name_that_an_earlier_round_bound_may_be_the_one_that_is_read() -> None:
    node = function(
        """
def f(rounds):
    for i in rounds:
        try:
            x = g(i)
        except ValueError as e:
            logger.warning(e)
        h(x)
"""
    )
    assert without_lost_results(node) is node


def test_a_parameter_is_bound_before() -> None:
    node = function("def f(x):\n    try:\n        x = g(x)\n    except E:\n        warnings.warn('no')\n    return x\n")
    assert without_lost_results(node) is node


def test_a_function_without_handlers_is_left_alone() -> None:
    node = function("def f(x):\n    return x\n")
    assert without_lost_results(node) is node
