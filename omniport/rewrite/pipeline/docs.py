"""Docstrings of the reference, trimmed to what the port still has."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection

import libcst as cst

from omniport.rewrite.pipeline.blocks import indented, suite

_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Return|Examples|Example|Raises|Yields):\s*\Z")
_TO_DO = re.compile(r"(TODO|FIXME)\b")
#: The line of another parameter, which the reference's authors left under that of the number of outputs.
_DEVICE = re.compile(r"\s+torch device to place the resulting embeddings on$", re.MULTILINE)
_ENTRY = re.compile(r"\*{0,2}(\w+)\b.*:|\*{0,2}(\w+) \(")


def docstring(node: cst.FunctionDef) -> cst.SimpleStatementLine | None:
    """The statement that holds the docstring, if there is one."""
    body = suite(node.body)
    first = body[0] if body else None
    if isinstance(first, cst.SimpleStatementLine) and isinstance(first.body[0], cst.Expr):
        value = first.body[0].value
        if isinstance(value, cst.SimpleString | cst.ConcatenatedString):
            return first
    return None


def trim(node: cst.FunctionDef, parameters: Collection[str]) -> cst.FunctionDef:
    """The method with a docstring that describes only ``parameters``; unchanged if all entries stay."""
    line = docstring(node)
    if line is None:
        return node
    text = node.get_docstring(clean=True) or ""
    kept = describe(text, parameters)
    if kept == text:
        return node
    body = suite(node.body)[1:]
    if kept.strip():
        body = [statement(kept, 8), *body]
    return node.with_changes(body=indented(body or [cst.SimpleStatementLine([cst.Pass()])], node.body))


def describe(text: str, parameters: Collection[str]) -> str:
    """A docstring without the entries of its argument section that describe none of ``parameters``."""
    kept: list[str] = []
    section, keep, depth = "", True, 0
    for line in text.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if _SECTION.match(stripped):
            section, keep, depth = stripped.split(":")[0], True, indent + 4
        elif section in ("Args", "Arguments", "Parameters") and stripped and indent == depth:
            entry = _ENTRY.match(stripped)
            keep = entry is None or (entry.group(1) or entry.group(2)) in parameters
        elif stripped and indent < depth:
            section, keep = "", True
        if keep:
            kept.append(line)
    found = "\n".join(kept)
    return found if "device" in parameters else _DEVICE.sub("", found)


def summary(text: str) -> str:
    """The paragraphs of a class docstring before its first section, and before what its author had still to write."""
    kept: list[str] = []
    for line in textwrap.dedent(text).strip().splitlines():
        if _SECTION.match(line.strip()) or _TO_DO.match(line.strip()) or line.startswith("This model inherits from"):
            break
        kept.append(line)
    return "\n".join(kept).strip()


def statement(text: str, indent: int) -> cst.SimpleStatementLine:
    """A docstring statement for a body indented by ``indent`` blanks."""
    pad = " " * indent
    lines = textwrap.dedent(text).strip().splitlines()
    if _SECTION.match(lines[0]):
        lines = ["", *lines]
    body = "\n".join([lines[0], *(pad + line if line.strip() else "" for line in lines[1:])])
    end = f"\n{pad}" if len(lines) > 1 else ""
    prefix = "r" if "\\" in text else ""
    return cst.parse_statement(f'{prefix}"""{body}{end}"""\n')  # type: ignore[return-value]
