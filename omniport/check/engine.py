"""Run rules over ports."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from omniport import __version__
from omniport.check.cache import FindingCache
from omniport.check.finding import Finding
from omniport.check.model import Rule
from omniport.check.port import Port, find_ports, parse_port, read_files
from omniport.check.rules import load_rules, rule_codes
from omniport.check.suppress import suppressions
from omniport.check.tree import shown, tree_of
from omniport.errors import OmniportError
from omniport.records import dataclass

#: not a rule: a file of a port that no rule can read
SYNTAX_ERROR = "OP000"
#: the rule whose findings are the TODOs of a port
TODO_LEFT = "OP971"


@dataclass(frozen=True)
class Report:
    """The findings of a run, in the order of file and line, and what was read for it."""

    findings: tuple[Finding, ...]
    ports: tuple[str, ...]
    files: int

    def counts(self) -> dict[str, int]:
        """Findings per code, in the order of the codes."""
        return dict(sorted(collections.Counter(f.code for f in self.findings).items()))

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Those that make the check fail."""
        return tuple(f for f in self.findings if f.blocking)

    @property
    def todos(self) -> tuple[Finding, ...]:
        """What omniport, or whoever wrote the port, left to do."""
        return tuple(f for f in self.findings if f.code == TODO_LEFT)

    def to_json(self) -> str:
        """The report as JSON text, ending in a newline."""
        names = rule_names()
        data = {
            "schema": 1,
            "omniport": __version__,
            "ports": self.ports,
            "files": self.files,
            "counts": self.counts(),
            "blocking": len(self.blocking),
            "todos": {"left": len(self.todos), "blocking": sum(f.blocking for f in self.todos)},
            "findings": [{"name": names[f.code], **asdict(f)} for f in self.findings],
        }
        return json.dumps(data, indent=2) + "\n"


def rule_names() -> dict[str, str]:
    """The name of every code that a finding can have."""
    return {code: rule.name for code, rule in load_rules().items()} | {SYNTAX_ERROR: "syntax-error"}


def select_codes(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """Codes of rules that start with an entry of ``select`` (all, if there is none) and with no entry of ``ignore``.

    Raises:
        OmniportError: an entry is the start of no code.
    """
    codes = rule_codes()
    chosen, dropped = [entry.strip().upper() for entry in select], [entry.strip().upper() for entry in ignore]
    for entry in chosen + dropped:
        if not entry.startswith("OP") or not any(c.startswith(entry) for c in (*codes, SYNTAX_ERROR)):
            raise OmniportError(
                f"{entry!r} is no rule, nor the start of one such as OP1; `omniport explain` lists them"
            )
    kept = (code for code in codes if not chosen or code.startswith(tuple(chosen)))
    return tuple(code for code in kept if not dropped or not code.startswith(tuple(dropped)))


def check_port(port: Port, rules: Iterable[Rule]) -> Iterator[Finding]:
    """The findings of ``rules`` in a port whose files were read, without those that a comment silences."""
    silenced = {
        (file.path.as_posix(), comment.target, code)
        for file in port.files
        for comment in suppressions(file)
        for code in comment.codes
    }
    for rule in rules:
        for finding in rule.check(port):
            if (finding.path, finding.line, finding.code) not in silenced:
                yield finding


def check(
    paths: Sequence[Path],
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    per_file_ignores: Mapping[str, Sequence[str]] | None = None,
    changed: Collection[Path] | None = None,
    cache: FindingCache | None = None,
) -> Report:
    """Check every port below ``paths``; each file is read once, and parsed if ``cache`` does not know its findings.

    Args:
        select, ignore: codes, or the starts of some.
        per_file_ignores: pattern of a path -> codes that do not count there.
        changed: only ports that hold one of these resolved files, and only findings in them.
        cache: where findings are kept by content.

    Raises:
        OmniportError: a path does not exist or holds no port, or a code is the start of none.
    """
    codes = {*select_codes(select, ignore), SYNTAX_ERROR}
    spared = {pattern: select_codes(entries) for pattern, entries in (per_file_ignores or {}).items() if entries}
    found: dict[tuple[str, int, int, str], Finding] = {}
    names, files, seen = [], 0, set()
    for path in paths:
        for name, sources in find_ports(path):
            resolved = {source: source.resolve() for source in sources}
            sources = [s for s in sources if resolved[s] not in seen]
            seen |= set(resolved.values())
            if not sources or (changed is not None and not any(resolved[s] in changed for s in sources)):
                continue
            names.append(name)
            files += len(sources)
            for finding in _port_findings(name, sources, codes, cache):
                if finding.code not in codes or _spared(finding, spared):
                    continue
                if changed is None or Path(finding.path).resolve() in changed:
                    found.setdefault((finding.path, finding.line, finding.col, finding.code), finding)
    return Report(tuple(found[key] for key in sorted(found)), tuple(names), files)


def _port_findings(name: str, sources: list[Path], codes: Collection[str], cache: FindingCache | None) -> list[Finding]:
    """The findings of a port: all that there are where they are kept, else those of ``codes`` at least."""
    contents = read_files(sources)
    if cache is None:
        port, broken = parse_port(name, contents)
        return [*broken, *check_port(port, [rule for code, rule in load_rules().items() if code in codes])]
    tree = tree_of(sources[0])
    beside = read_files(tree.inputs(name)) if tree is not None else {}
    root = os.path.commonpath([path.parent for path in sources])
    places = [os.path.relpath(path, root) for path in sources]
    paths = [shown(path) for path in (*contents, *beside)]
    everything = [*contents.values(), *beside.values()]
    key = cache.key(name, everything, [*places, *(path.name for path in beside)])
    kept = cache.get(key, paths)
    if kept is None:
        port, broken = parse_port(name, contents)
        kept = [*broken, *check_port(port, load_rules().values())]
        cache.put(key, paths, kept)
    return kept


def _spared(finding: Finding, spared: Mapping[str, Sequence[str]]) -> bool:
    return any(finding.code in codes and fnmatch(finding.path, pattern) for pattern, codes in spared.items())
