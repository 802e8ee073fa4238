"""SVG elements as text.  Every attribute and every text goes through here, so that nothing in them is markup."""

from __future__ import annotations

from html import escape

from omniport.errors import printable


class Markup(str):
    """Text that is markup already."""


def element(name: str, *content: str, **attributes: str | float) -> Markup:
    """An element; ``content`` that is no :class:`Markup` is text.

    Attribute names: a trailing underscore is dropped and others become hyphens (``class_``, ``font_size``).
    """
    given = "".join(f' {_name(key)}="{clean(_value(value))}"' for key, value in attributes.items())
    inner = "".join(part if isinstance(part, Markup) else clean(part) for part in content)
    return Markup(f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>")


def text(x: float, y: float, content: str, class_: str = "", width: int = 0, **attributes: str | float) -> Markup:
    """A line of text with its left end at ``x``; cut to ``width`` characters, the whole then shows on hovering."""
    shown = shorten(content, width) if width else content
    title = [element("title", content)] if shown != content else []
    return element("text", Markup(clean(shown)), *title, x=x, y=y, class_=class_, **attributes)


def shorten(content: str, width: int) -> str:
    """``content``, or its first characters and an ellipsis where it is longer than ``width``."""
    return content if len(content) <= width else content[: width - 1] + "…"


def clean(content: str) -> str:
    """Text for HTML and SVG, inside an element or between double quotes."""
    return escape(printable(content), quote=True)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
