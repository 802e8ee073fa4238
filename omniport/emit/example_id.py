"""The id of a published checkpoint of a pipeline, as the reference's own example names it."""

from __future__ import annotations

import re

_ID = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
_MARK = r"(?:\s|>>>|\.\.\.)*"
_GIVEN = re.compile(r"\b\w+=(\w+)\b(?!\.)")


def example_id(text: str, class_name: str) -> str:
    """The id in ``class_name.from_pretrained("org/name")`` of the module ``text``; empty if there is none.

    A name in place of the id is looked up in the example.  There is none either where the example gives the pipeline a
    component of another repository (``controlnet=controlnet``): the checkpoint alone is no such pipeline's.
    """
    call = re.search(rf'\b{class_name}\.from_pretrained\({_MARK}(?:"({_ID})"|(\w+))', text)
    if call is None:
        return ""
    found = call[1] or _bound(text, call[2])
    arguments = text[call.end() :].partition(")")[0]
    for name in _GIVEN.findall(arguments):
        other = re.search(rf'\b{name}\s*=\s*\w+\.from_pretrained\({_MARK}(?:"({_ID})"|(\w+))', text)
        if other is not None and (other[1] or _bound(text, other[2])) != found:
            return ""
    return found


def _bound(text: str, name: str) -> str:
    """The id that a name of the example stands for; empty if none is seen."""
    bound = re.search(rf'\b{name}\s*=\s*"({_ID})"', text)
    return bound[1] if bound else ""
