"""Run rules over ports."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omniport import __version__
from omniport.check.model import Finding, Rule
from omniport.check.port import Port, find_ports, read_port
from omniport.check.rules import load_rules
from omniport.errors import OmniportError

#: not a rule: a file of a port that no rule can read
SYNTAX_ERROR = "OP000"


@dataclass(frozen=True)
class Report:
    """The findings of a run, in the order of file and line, and what was read for it."""

    findings: tuple[Finding, ...]
    ports: tuple[str, ...]
    files: int

    def counts(self) -> dict[str, int]:
        """Findings per code, in the order of the codes."""
        return dict(sorted(collections.Counter(f.code for f in self.findings).items()))

    def to_json(self) -> str:
        """The report as JSON text, ending in a newline."""
        names = {code: rule.name for code, rule in load_rules().items()} | {SYNTAX_ERROR: "syntax-error"}
        data = {
            "schema": 1,
            "omniport": __version__,
            "ports": self.ports,
            "files": self.files,
            "counts": self.counts(),
            "findings": [{"name": names[f.code], **asdict(f)} for f in self.findings],
        }
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def select_rules(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> list[Rule]:
    """Rules whose code starts with an entry of ``select`` (all, if there is none) and with no entry of ``ignore``.

    Raises:
        OmniportError: an entry is the start of no code.
    """
    rules = load_rules()
    chosen, dropped = [entry.strip().upper() for entry in select], [entry.strip().upper() for entry in ignore]
    for entry in chosen + dropped:
        if not entry.startswith("OP") or not any(c.startswith(entry) for c in (*rules, SYNTAX_ERROR)):
            raise OmniportError(f"{entry!r} is no rule; codes are {', '.join(rules)}, or the start of one such as OP1")
    kept = [rule for code, rule in rules.items() if not chosen or code.startswith(tuple(chosen))]
    return [rule for rule in kept if not rule.code.startswith(tuple(dropped))] if dropped else kept


def check_port(port: Port, rules: Iterable[Rule]) -> Iterator[Finding]:
    """The findings of ``rules`` in a port whose files were read."""
    for rule in rules:
        yield from rule.check(port)


def check(paths: Sequence[Path], *, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Report:
    """Check every port below ``paths``; each file is read and parsed once.

    Raises:
        OmniportError: a path does not exist or holds no port, or ``select``/``ignore`` name no rule.
    """
    rules = select_rules(select, ignore)
    found: dict[tuple[str, int, int, str], Finding] = {}
    names, files, seen = [], 0, set()
    for path in paths:
        for name, sources in find_ports(path):
            sources = [s for s in sources if s.resolve() not in seen]
            seen |= {s.resolve() for s in sources}
            if not sources:
                continue
            port, broken = read_port(name, sources)
            names.append(name)
            files += len(sources)
            for finding in (*broken, *check_port(port, rules)):
                found.setdefault((finding.path, finding.line, finding.col, finding.code), finding)
    return Report(tuple(found[key] for key in sorted(found)), tuple(names), files)
