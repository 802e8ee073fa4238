"""Templates to text.

Templates are our own, but what fills them comes from model repositories: a string enters Python only through ``py``,
TOML through ``toml``, Markdown through ``md`` and a comment through ``comment``; names are checked before.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniport.errors import OmniportError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


#: what every plugin is made from
ALWAYS = (
    "module.py.j2", "plugin/init.py.j2", "plugin/pyproject.toml.j2", "plugin/README.md.j2", "plugin/test_plugin.py.j2",
)  # fmt: skip


def templates() -> Path:
    """The folder of templates: in the installed package, or beside it in a checkout.

    Raises:
        OmniportError: neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "templates", package.parent / "templates"):
        if (folder / "module.py.j2").is_file():
            return folder
    raise OmniportError(f"no templates in {package}; install omniport again")


@functools.cache
def environment() -> SandboxedEnvironment:
    """The one Jinja environment: sandboxed, and an unknown name is an error."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    env = SandboxedEnvironment(
        loader=FileSystemLoader(templates()),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update(py=python, toml=toml, md=markdown, comment=comment)
    return env


def render(template: str, **values: Any) -> str:
    """The text of a template below ``templates``."""
    return environment().get_template(template).render(**values)


def python(value: Any) -> str:
    """A Python literal, ASCII only so that no look-alike or bidirectional character gets into code."""
    return ascii(value)


def toml(value: str) -> str:
    """A TOML basic string."""
    text = json.dumps(_plain(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


def comment(value: str) -> str:
    """One line of text for a comment: no line break, no control or formatting character."""
    return _plain(value)


def markdown(value: str) -> str:
    """Text for Markdown, also inside a table cell: nothing in it is markup."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", _plain(value))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(value: str) -> str:
    """``value`` with every line break, control and formatting character made a space."""
    return "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in value)
