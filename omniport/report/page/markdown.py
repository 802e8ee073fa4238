"""A report as Markdown for a pull request: short, and with nothing in it that links, mentions or runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from omniport.emit.render import comment
from omniport.emit.render import markdown as plain
from omniport.report.page import view
from omniport.report.page.facts import PortReport
from omniport.report.page.picture import size
from omniport.report.page.plot import shown
from omniport.report.page.proofs import parts as proved_parts
from omniport.report.page.rows import WORDS, Row, rows
from omniport.report.page.verdict import verdict
from omniport.verify.results import ModuleNode

#: what a code host makes a link or a mention of, unless it stands in code
_LINKED = re.compile(r"[@#]|://|www\.|\b[0-9a-f]{7,40}\b|\bGH-")


def markdown(report: PortReport) -> str:
    """The text, ending in a newline."""
    parts = [f"## {prose(report.plan.name)}: port of {prose(report.plan.model.model)}", *_summary(report)]
    parts += ["### Features", table(("feature", "state", "rel. error", "evidence"), _features(report))]
    if report.tree is not None:
        parts += ["### Modules, sharding and split points", fenced(tree_text(report.tree))]
        parts += [view.shares(report)]
    blocks = report.blocks()
    if blocks:
        runs = list(blocks)
        parts += ["### Error per block", table(("block", *runs), _blocks(report))]
    accounted = view.weights(report) or ("not measured: load was not run",)
    parts += ["### Weights", prose("; ".join(accounted)) + "."]
    if report.plan.transformer.weights:
        mapping = [(w.parameter, w.checkpoint, w.shard or "") for w in report.plan.transformer.weights]
        parts += [details("names that differ", table(("parameter", "checkpoint", "shard"), mapping))]
    if proofs := proved_parts(report):
        lines = [(p.name, p.state, "; ".join(p.proved), "; ".join((*p.todos, *p.open))) for p in proofs]
        parts += ["### What is proved and what is left", prose(view.left(report)) + "."]
        parts += [table(("part", "state", "proved by", "left"), lines)]
    todos = [(d.subject, str(d.value), view.reason(d.why)) for d in report.todos]
    parts += ["### Left for a human", table(("subject", "value", "why"), todos) if todos else "Nothing."]
    parts += ["### Commands and versions", fenced(f"{view.folded(report.scaffold)}\n{view.folded(report.verify)}")]
    parts += [table(("package", "version"), report.versions.items())]
    parts += [prose(f"Note: {note}.") for note in report.notes]
    return "\n\n".join(parts) + "\n"


def _summary(report: PortReport) -> list[str]:
    states = ", ".join(f"{count} {state}" for state, count in report.states().items())
    return [
        *(f"**{answer.question}** {prose(answer.text)}" for answer in verdict(report)),
        prose(f"{states}; {len(report.todos)} TODO(s) left."),
        table(("what", "value"), view.origin(report)),
    ]


def _features(report: PortReport) -> Iterable[Sequence[str]]:
    return [(row.name, row.state, row.figure, "; ".join(row.lines)) for row in view.features(report)]


def _blocks(report: PortReport) -> Iterable[Sequence[str]]:
    runs = report.blocks()
    names = dict.fromkeys(row.block for found in runs.values() for row in found)
    errors = [{row.block: shown(row.error) for row in found} for found in runs.values()]
    return [(name, *(found.get(name, "") for found in errors)) for name in names]


def tree_text(tree: ModuleNode) -> str:
    """The tree in text, one module a line, what the ranks do at its right."""
    lines = [(_branch(row) + row.name + (f" x{row.count}" if row.count > 1 else ""), row) for row in rows(tree)]
    width = min(64, max(len(left) for left, _ in lines))
    return "\n".join(f"{left.ljust(width)}  {_meaning(row)}".rstrip() for left, row in lines)


def _branch(row: Row) -> str:
    if not row.last:
        return ""
    return "".join("   " if last else "│  " for last in row.last[:-1]) + ("└─ " if row.last[-1] else "├─ ")


def _meaning(row: Row) -> str:
    words = [size(row.parameters).rjust(6) if row.parameters else " " * 6, WORDS.get(row.kind, "")]
    words += dict.fromkeys(f"[{split.kind} {split.what}]" for split in row.splits)
    return " ".join(word for word in words if word)


def prose(text: str) -> str:
    """Text outside of code in which nothing is markup, a link or a mention."""
    if _LINKED.search(text):
        return f"<code>{plain(text)}</code>"
    return plain(text)


def fenced(text: str) -> str:
    """A block of code that nothing in ``text`` ends."""
    lines = [comment(line) for line in text.split("\n")]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return "\n".join([f"{fence}text", *lines, fence])


def details(title: str, body: str) -> str:
    """A part that is closed at first."""
    return f"<details><summary>{escape(title)}</summary>\n\n{body}\n\n</details>"


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table; every cell is text."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(
        "| " + " | ".join(cell if i == 1 else prose(str(cell)) for cell in line) + " |" for i, line in enumerate(lines)
    )
