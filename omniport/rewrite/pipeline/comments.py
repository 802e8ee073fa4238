"""A comment line that is too long, in several: prose is filled, and an example of code keeps its indentation."""

from __future__ import annotations

import re
import textwrap

_REMARK = re.compile(r"(?P<code>.*\S) +# ?(?P<remark>\S.*)")
_KEY = re.compile(r"(?<=[\"']:) ")  # between a key and its value is no place to break
_HELD = "\0"


def filled(comment: str, pad: str, width: int) -> list[str]:
    """The lines of ``comment``, which begins with a hash, behind ``pad``.

    What stands two blanks or more behind the hash is an example: its own comment goes above it.
    """
    text = comment[1:]
    indent = len(text) - len(text.lstrip())
    if indent < 2:
        return textwrap.wrap(text.strip(), width, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")
    lead = f"{pad}#{' ' * indent}"
    lines = []
    match = _REMARK.fullmatch(text.strip())
    if match is not None:
        lines.append(f"{lead}# {match['remark']}")
        text = match["code"]
    held = _KEY.sub(_HELD, text.strip())
    found = textwrap.wrap(held, width, initial_indent=lead, subsequent_indent=f"{lead} ", break_long_words=False)
    return [*lines, *(line.replace(_HELD, " ") for line in found)]
