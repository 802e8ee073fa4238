"""Entries of left-out parameters leave a docstring; all else stays."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.rewrite.normal.docstring import documented, drop_entries, own_entries

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


def test_the_names_that_are_explained() -> None:
    assert documented(TEXT) == ("x", "mask", "scale")
    assert documented('"""No section.\n\nx (int): not one."""') == ()


def model(parameters: str) -> cst.ClassDef:
    text = TEXT.replace("\n", "\n    ")
    node = cst.parse_module(f"class Model:\n    {text}\n\n    def __init__(self{parameters}):\n        pass\n").body[0]
    assert isinstance(node, cst.ClassDef)
    return node


@pytest.mark.parametrize("parameters", [", x, mask, scale", ", x, mask=None, *, scale=1", ", **options"])
def test_a_class_keeps_what_its_constructor_takes(parameters: str) -> None:
    assert own_entries(model(parameters)) is not None
    assert cst.Module([own_entries(model(parameters))]).code == cst.Module([model(parameters)]).code


def test_a_class_explains_no_parameter_that_it_lacks() -> None:
    text = cst.Module([own_entries(model(", x, scale"))]).code
    assert "Which tokens" not in text and "x (`Tensor`)" in text and "scale: How much" in text
