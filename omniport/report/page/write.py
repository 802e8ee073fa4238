"""Where reports go: the form is that of the file's name, and a file is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from omniport.errors import OmniportError
from omniport.report.files import write_whole
from omniport.report.page.facts import PortReport


def form_of(path: Path) -> Callable[[PortReport], str]:
    """What makes the text of a report at ``path``.

    Raises:
        OmniportError: the name ends in neither ``.html`` nor ``.md``, or nothing can be written there.
    """
    if path.suffix not in (".html", ".md"):
        raise OmniportError(f"--report {path}: name a file that ends in .html or .md")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OmniportError(
            f"--report {path}: no file can be written there; name one in a folder that you can write to"
        )
    if path.suffix == ".html":
        from omniport.report.page.html import html

        return html
    from omniport.report.page.markdown import markdown

    return markdown


def write(report: PortReport, paths: Sequence[Path]) -> None:
    """Write the report to each path.

    Raises:
        OmniportError: a file cannot be written.
    """
    for path in paths:
        write_whole(path, form_of(path)(report))
