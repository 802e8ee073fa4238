"""The id of a published checkpoint of a pipeline, as the reference's own example names it."""

from __future__ import annotations

import re

_ID = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
_MARK = r"(?:\s|>>>|\.\.\.)*"


def example_id(text: str, class_name: str) -> str:
    """The id in ``class_name.from_pretrained("org/name")`` of the module ``text``; empty if there is none.

    A name in place of the id is looked up in the example.
    """
    call = re.search(rf'\b{class_name}\.from_pretrained\({_MARK}(?:"({_ID})"|(\w+))', text)
    if call is None:
        return ""
    if call[1]:
        return call[1]
    bound = re.search(rf'\b{call[2]}\s*=\s*"({_ID})"', text)
    return bound[1] if bound else ""
