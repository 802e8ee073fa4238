"""Entries of left-out parameters leave a docstring; all else stays."""

from __future__ import annotations

import pytest

from omniport.rewrite.normal.docstring import drop_entries

TEXT = '''"""
Do it.

Args:
    x (`Tensor`): Tokens.
    mask (`Tensor`, *optional*):
        Which tokens count.

        A second paragraph.
    scale: How much.

Returns:
    Tokens, where mask (if any) is true.
"""'''


@pytest.mark.parametrize("names", [(), ("other",), ("Tokens",), ("Do",)])
def test_kept(names: tuple[str, ...]) -> None:
    assert drop_entries(TEXT, names) == TEXT


def test_an_entry_goes_with_its_paragraphs() -> None:
    new = drop_entries(TEXT, ("mask",))
    assert "Which tokens" not in new and "second paragraph" not in new
    assert "    scale: How much." in new and "where mask (if any)" in new


def test_the_last_entry_leaves_the_next_section() -> None:
    new = drop_entries(TEXT, ("scale",))
    assert "How much" not in new and "\nReturns:\n" in new
