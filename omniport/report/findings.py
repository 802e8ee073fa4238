"""Findings of ``check`` as text for people and JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TextIO

from omniport.check.engine import Report


def write_text(report: Report, stream: TextIO) -> None:
    """One block per finding, ``path:line:col: CODE message`` above the evidence, and a last line that counts."""
    bold, red, dim, end = ("\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m") if _colours(stream) else ("", "", "", "")
    for finding in report.findings:
        place = f"{bold}{finding.path}{end}:{finding.line}:{finding.col}"
        stream.write(f"{place}: {red}{finding.code}{end} {finding.message}\n")
        if finding.evidence:
            stream.write(f"{dim}    {finding.evidence}{end}\n")
    read = f"{_count(len(report.ports), 'port')}, {_count(report.files, 'file')}"
    if report.findings:
        counts = ", ".join(f"{code} {number}" for code, number in report.counts().items())
        stream.write(f"{_count(len(report.findings), 'finding')} in {read}: {counts}\n")
        stream.write("`omniport explain CODE` says why a rule matters and what to do.\n")
    else:
        stream.write(f"No findings in {read}.\n")


def write_json(report: Report, stream: TextIO) -> None:
    """The whole report as one JSON object."""
    stream.write(report.to_json())


#: what ``--output-format`` offers
FORMATS: Mapping[str, Callable[[Report, TextIO], None]] = {"text": write_text, "json": write_json}


def _colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
