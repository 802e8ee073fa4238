"""The documentation of rules: for ``explain``, and ``docs/rules.md`` (``python -m omniport.report.rules``)."""

from __future__ import annotations

import sys
import textwrap
from difflib import get_close_matches

from omniport.check.model import Rule
from omniport.check.rules import FAMILIES, family, load_rules
from omniport.errors import OmniportError


def find_rule(code: str) -> Rule:
    """The rule with this code or name, in any case.

    Raises:
        OmniportError: there is none.
    """
    rules = load_rules()
    wanted = code.strip()
    for rule in rules.values():
        if wanted.upper() == rule.code or wanted.lower() == rule.name:
            return rule
    known = [*rules, *(rule.name for rule in rules.values())]
    near = get_close_matches(wanted.upper(), rules, cutoff=0.7) or get_close_matches(wanted.lower(), known, cutoff=0.4)
    meant = f"did you mean {', '.join(near)}? " if near else ""
    raise OmniportError(f"{code!r} is no rule; {meant}`omniport explain` lists them")


def listing() -> str:
    """One line per rule, by family."""
    lines: list[str] = []
    for title in dict.fromkeys(FAMILIES.values()):
        lines.append(title)
        lines += [f"  {rule.code}  {rule.name}" for rule in load_rules().values() if family(rule.code) == title]
    return "\n".join(lines) + "\n"


def explanation(code: str) -> str:
    """The documentation of a rule with its first invalid and its first valid example, as plain text."""
    rule = find_rule(code)
    parts = [f"{rule.code} {rule.name}", rule.documentation().replace("``", "`")]
    parts += ["Invalid:", textwrap.indent(example(rule.INVALID[0]), "    ")]
    parts += ["Valid:", textwrap.indent(example(rule.VALID[0]), "    ")]
    return "\n\n".join(parts) + "\n"


def example(text: str) -> str:
    """An example as it would stand in a file, without the blank lines around it."""
    return textwrap.dedent(text).strip("\n").rstrip()


def reference() -> str:
    """All rules as Markdown."""
    lines = [
        "# Rules of `omniport check`",
        "",
        "Written from the rules themselves by `python -m omniport.report.rules`; do not edit.",
        "",
    ]
    for title in dict.fromkeys(FAMILIES.values()):
        lines += [f"## {title}", ""]
        for rule in load_rules().values():
            if family(rule.code) != title:
                continue
            text = rule.documentation().replace("``", "`")
            text = text.replace("\nWhy: ", "\n**Why.** ").replace("\nFix: ", "\n**Fix.** ")
            lines += [f"### {rule.code} {rule.name}", "", text, "", "Invalid:", ""]
            lines += ["```python", example(rule.INVALID[0]), "```", "", "Valid:", ""]
            lines += ["```python", example(rule.VALID[0]), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(reference())
