"""The examples in each rule's file are its tests; its docstring is its documentation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from omniport.check.model import Rule
from omniport.check.port import Port
from omniport.check.rules import FAMILIES, family, load_rules, rule_codes
from omniport.check.source import SourceFile
from omniport.report.rules import example, explanation, reference

RULES = load_rules()
VALID = [pytest.param(r, e, id=f"{c}-valid-{i}") for c, r in RULES.items() for i, e in enumerate(r.VALID)]
INVALID = [pytest.param(r, e, id=f"{c}-invalid-{i}") for c, r in RULES.items() for i, e in enumerate(r.INVALID)]


def port_of(rule: Rule, text: str, root: Path) -> Port:
    """An example as a port: in memory, or in a tree with the files that the rule reads beside it."""
    if not rule.TREE:
        return Port("example", (SourceFile(Path("example.py"), example(text)),))
    path = root / "vllm_omni/diffusion/models/example/example.py"
    for name, content in {**rule.TREE, path.relative_to(root).as_posix(): example(text)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, "utf-8")
    return Port("example", (SourceFile(path, example(text)),))


@pytest.mark.parametrize(("rule", "text"), VALID)
def test_valid_example_has_no_finding(rule: Rule, text: str, tmp_path: Path) -> None:
    assert list(rule.check(port_of(rule, text, tmp_path))) == []


@pytest.mark.parametrize(("rule", "text"), INVALID)
def test_invalid_example_has_a_finding(rule: Rule, text: str, tmp_path: Path) -> None:
    findings = list(rule.check(port_of(rule, text, tmp_path)))
    assert findings
    for finding in findings:
        lines = (Path(finding.path).read_text("utf-8") if rule.TREE else example(text)).splitlines()
        assert finding.code == rule.code
        assert rule.TREE or finding.path == "example.py"
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.col <= len(lines[finding.line - 1])
        assert finding.message and "\n" not in finding.message
        assert finding.evidence == lines[finding.line - 1].strip()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_is_documented_and_has_examples(rule: Rule) -> None:
    text = rule.documentation()
    assert rule.summary().endswith(".") and len(rule.summary()) <= 110
    assert "\n\nWhy: " in text and "\n\nFix: " in text
    why = text.partition("\n\nWhy: ")[2].partition("\n\nFix: ")[0]
    assert re.search(r"#\d+|vllm-omni 0\.30\.0", why), "no evidence: neither an upstream number nor a port that has it"
    assert len(rule.VALID) >= 2 and len(rule.INVALID) >= 2
    assert family(rule.code) in FAMILIES.values()


def test_there_are_rules_of_every_family_with_names_of_their_own() -> None:
    assert len(RULES) >= 40
    assert len({rule.name for rule in RULES.values()}) == len(RULES)
    assert {family(code) for code in RULES} == set(FAMILIES.values())
    assert list(rule_codes()) == list(RULES)


@pytest.mark.parametrize("code", RULES)
def test_explanation_shows_documentation_and_both_examples(code: str) -> None:
    text, rule = explanation(code), RULES[code]
    assert text.startswith(f"{code} {rule.name}\n")
    for block in (rule.INVALID[0], rule.VALID[0]):
        assert all(f"    {line}" in text for line in example(block).splitlines() if line)
    assert explanation(rule.name) == text == explanation(code.lower())


def test_the_rule_reference_in_docs_is_current() -> None:
    docs = Path(__file__).parents[2] / "docs" / "rules.md"
    assert docs.read_text("utf-8") == reference(), "write it again: python -m omniport.report.rules > docs/rules.md"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_is_silent_on_an_empty_file_and_on_a_foreign_one(rule: Rule) -> None:
    foreign = Path(ast.__file__)  # long, and no port
    for text in ("", foreign.read_text("utf-8")):
        assert list(rule.check(Port("other", (SourceFile(Path("other.py"), text),)))) == []
