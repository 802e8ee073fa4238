"""Findings of ``check`` as text for people, and as JSON, annotations and SARIF for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TextIO

from omniport import __version__
from omniport.check.engine import Report, rule_names
from omniport.check.rules import load_rules
from omniport.errors import printable
from omniport.plan.todos import counted


def write_text(report: Report, stream: TextIO) -> None:
    """One block per finding, ``path:line:col: CODE message`` above the evidence, and a last line that counts."""
    colours = ("\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m") if _colours(stream) else ("",) * 5
    bold, red, yellow, dim, end = colours
    for finding in report.findings:
        place = f"{bold}{printable(finding.path)}{end}:{finding.line}:{finding.col}"
        colour = red if finding.blocking else yellow
        stream.write(f"{place}: {colour}{finding.code}{end} {printable(finding.message)}\n")
        if finding.evidence:
            stream.write(f"{dim}    {printable(finding.evidence)}{end}\n")
    read = f"{_count(len(report.ports), 'port')}, {_count(report.files, 'file')}"
    if report.findings:
        counts = ", ".join(f"{code} {number}" for code, number in report.counts().items())
        stream.write(f"{_count(len(report.findings), 'finding')} in {read}: {counts}\n")
        _write_todos(report, stream)
        if mended := sum(bool(f.edits) for f in report.findings):
            stream.write(f"`omniport check --fix` mends {mended} of them.\n")
        stream.write("`omniport explain CODE` says why a rule matters and what to do.\n")
    else:
        stream.write(f"No findings in {read}.\n")


def write_json(report: Report, stream: TextIO) -> None:
    """The whole report as one JSON object."""
    stream.write(report.to_json())


def write_github(report: Report, stream: TextIO) -> None:
    """Workflow commands that GitHub shows as annotations of the lines."""
    names = rule_names()
    for f in report.findings:
        title = f"{f.code} {names[f.code]}"
        place = f"file={_property(f.path)},line={f.line},col={f.col},title={_property(title)}"
        stream.write(f"::{'error' if f.blocking else 'notice'} {place}::{_data(f.message)}\n")


def write_sarif(report: Report, stream: TextIO) -> None:
    """SARIF 2.1.0, as code scanning services read it."""
    from urllib.parse import quote

    rules = load_rules()
    used = [code for code in report.counts() if code in rules]
    driver = {
        "name": "omniport",
        "version": __version__,
        "rules": [
            {
                "id": code,
                "name": rules[code].name,
                "shortDescription": {"text": rules[code].summary()},
                "fullDescription": {"text": rules[code].documentation()},
            }
            for code in used
        ],
    }
    results = [
        {
            "ruleId": f.code,
            "level": "error" if f.blocking else "note",
            "message": {"text": f.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(f.path)},
                        "region": {"startLine": f.line, "startColumn": f.col},
                    }
                }
            ],
        }
        for f in report.findings
    ]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    stream.write(json.dumps(log, indent=2) + "\n")


def write_statistics(report: Report, stream: TextIO) -> None:
    """One line per code, the most frequent first: number, code, name, and a star where ``--fix`` can mend some."""
    names = rule_names()
    mended = {f.code for f in report.findings if f.edits}
    for code, number in sorted(report.counts().items(), key=lambda item: (-item[1], item[0])):
        stream.write(f"{number:5}  {code}  {'[*] ' if code in mended else '    '}{names[code]}\n")
    read = f"{_count(len(report.ports), 'port')}, {_count(report.files, 'file')}"
    stream.write(f"{_count(len(report.findings), 'finding')} in {read}\n")
    _write_todos(report, stream)


def _write_todos(report: Report, stream: TextIO) -> None:
    """How much is left to do, where anything is."""
    if report.todos:
        stream.write(f"{counted(len(report.todos), sum(f.blocking for f in report.todos))}\n")


#: what ``--output-format`` offers
FORMATS: Mapping[str, Callable[[Report, TextIO], None]] = {
    "text": write_text,
    "json": write_json,
    "github": write_github,
    "sarif": write_sarif,
}


def _colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _data(text: str) -> str:
    """Text of a workflow command."""
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    """A property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
