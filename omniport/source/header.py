"""The comment that a reference file begins with: its copyright notice, and its licence."""

from __future__ import annotations

#: How the text of the Apache License begins and ends in a file, and the line that says as much.
_BEGIN = "# Licensed under the Apache License, Version 2.0"
_END = "# limitations under the License."
_SPDX = "# SPDX-License-Identifier: Apache-2.0"


def header(text: str) -> list[str]:
    """The leading comment lines of ``text``; a licence's text as its SPDX line, as in vLLM-Omni."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.rstrip())
    begin = next((n for n, line in enumerate(lines) if line.startswith(_BEGIN)), None)
    if begin is None or _END not in lines[begin:]:
        return lines
    rest = lines[lines.index(_END, begin) + 1 :]
    while begin and lines[begin - 1] == "#":
        begin -= 1
    return [_SPDX, *lines[:begin], *rest]
