"""Headings with numbers count on without gaps, and no other comment changes."""

from __future__ import annotations

import re

import pytest

from omniport.rewrite.pipeline.sections import numbered_anew


def method(*comments: str, name: str = "f") -> str:
    return f"    def {name}(self):\n" + "".join(f"        {c}\n        x()\n" for c in comments)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["# 1. A", "# 2. B", "# 4. C", "# 7. D"], ["# 1. A", "# 2. B", "# 3. C", "# 4. D"]),
        (["# 0. A", "# 2. B"], ["# 0. A", "# 1. B"]),
        (["# 2. A", "# 4. B"], ["# 1. A", "# 2. B"]),
        (["# 1. A", "# 3. B", "# 3. C"], ["# 1. A", "# 2. B", "# 3. C"]),
        (["# 1. A", "# 5. B", "# 4. C"], ["# 1. A", "# 2. B", "# 3. C"]),
        (["# 1. A", "# 4. B", "# 4.1 C", "# 4.2. D"], ["# 1. A", "# 2. B", "# 2.1 C", "# 2.2. D"]),
        (["# 1. A", "# 3 B"], ["# 1. A", "# 2. B"]),
        (["# 7. A", "# note"], ["# A", "# note"]),
    ],
)
def test_headings_count_on(before: list[str], after: list[str]) -> None:
    assert numbered_anew(method(*before)) == method(*after)


@pytest.mark.parametrize(
    "comments",
    [
        ["# 1. A", "# 2. B"],
        ["# 1. A", "# 3. B", "# 1. C", "# 2. D"],  # another sequence
        ["# 6.1 A", "# 6.2 B"],
        ["# 1. A", "# 3.1 B", "# 4. C"],  # a part of no step
        ["# 2 Images", "# 2.5 times"],
        ["# 1. a sentence goes on", "# 3. here"],
        ["# see 3. Prepare", "# note"],
    ],
)
def test_other_comments_stay(comments: list[str]) -> None:
    assert numbered_anew(method(*comments)) == method(*comments)


def test_methods_and_literals_are_apart() -> None:
    first, second = method("# 1. A", "# 2. B"), method("# 3. A", "# 5. B", name="g")
    assert numbered_anew(first + second) == first + method("# 1. A", "# 2. B", name="g")
    literal = 'TEXT = """\n# 1. A\n# 3. B\n"""\n'
    assert numbered_anew(literal) == literal


def test_nothing_but_numbers_changes() -> None:
    text = method("# 0. A", "# 4. B", "# 4.1 C", "# TODO: 7. d", "# 9. D")
    new = numbered_anew(text)
    assert new != text
    assert re.sub(r"\d", "", new) == re.sub(r"\d", "", text)
