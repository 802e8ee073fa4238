"""A text that is made and not kept is not made."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.idle_texts import without_idle_texts
from tests.pipeline.helpers import function, text

SOURCE = """
def clean(self, caption):
    caption = re.sub(" +", " ", caption)
    # without blanks at its ends
    caption.strip()

    if caption:
        caption.lower()
        caption = caption.strip()
    return caption.strip()
"""


def test_lines_without_effect_go() -> None:
    new = text([without_idle_texts(function(SOURCE))])
    assert "    caption.strip()\n" not in new and "caption.lower()" not in new
    assert "        caption = caption.strip()\n    return caption.strip()\n" in new


@pytest.mark.parametrize(
    "line",
    [
        "self.vae.half()",  # in place
        "prompts.append(caption)",
        "caption.strip(self.take())",
        "kept = caption.strip()",
        "self.log(caption.strip())",
        "self.texts.strip()",  # may be anything
        "caption.replace_all()",
        "strip()",
    ],
)
def test_other_lines_stay(line: str) -> None:
    source = f"def f(self, caption, prompts):\n    {line}\n    return caption\n"
    assert text([without_idle_texts(function(source))]) == source


def test_a_function_without_any_is_left_alone() -> None:
    node = function("def f(x):\n    return x\n")
    assert without_idle_texts(node) is node
