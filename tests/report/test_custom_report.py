"""The report of a custom repository's port: what is proved of each part, and what is left."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from omniport.custom.into import scaffold_custom
from omniport.plan.todos import IDS
from omniport.report.page.facts import PortReport, collect
from omniport.report.page.html import html
from omniport.report.page.markdown import markdown
from omniport.report.page.proofs import OTHER, PARTS, parts
from omniport.report.page.todos import left
from omniport.report.page.write import write
from omniport.target.manifest import load
from omniport.verify.port import find_port
from omniport.verify.results import VerifyReport
from tests.report.test_port_report import HOSTILE, LAYOUT, Elements, result
from tests.support.browser import browser, find_browser
from tests.support.ports import copy_tree

FIXTURES = Path(__file__).parents[2] / "fixtures" / "custom"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> PortReport:
    """A report on a repository with a fusion, imported and loaded, whose outputs are not compared."""
    tree = copy_tree(tmp_path_factory.mktemp("custom") / "tree")
    scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy")
    port = find_port(tree)
    found = [result("import", port.digest()), result("load", port.digest())]
    found.append(result("parity", port.digest(), state="not tested"))
    features = {r.feature: r.to_data() for r in found}
    port.evidence_path.write_text(json.dumps({"schema": 1, "name": port.name, "features": features}), "utf-8")
    return collect(port, VerifyReport("toy", "", tuple(found), 1.0), "omniport verify tree --report port.html")


def test_every_id_belongs_to_a_part() -> None:
    named = [identity for _, ids in PARTS.values() for identity in ids]
    assert set(IDS) <= set(named) and len(named) == len(set(named))


def test_each_part_says_what_is_proved_and_what_is_left(report: PortReport) -> None:
    found = {part.name: part for part in parts(report)}
    assert list(found) == list(PARTS)
    assert found["transformer"].state == "proved"
    assert found["transformer"].proved == ("load: measured (omniport verify port)",)
    assert (found["attentions"].state, found["attentions"].open) == ("not proved", ("parity: wrong",))
    assert found["configs"].state == "not proved"
    assert found["configs"].open == ("no TODO of it is left, and no feature of verify looks at it",)
    assert found["tensor names"].state == "TODO"
    assert found["tensor names"].proved, "what is proved is shown beside what is left"
    assert any(line.startswith("DENOISE, blocking: ") and "engine.py:" in line for line in found["pipeline"].todos)
    assert found["weights to fetch"].todos[0].startswith("REVISION, not blocking: ")
    left = [line for part in found.values() for line in part.todos]
    assert len(left) == len(report.todos)


def test_nothing_is_called_proved_without_evidence(report: PortReport) -> None:
    """The broken twin: evidence that is gone, or a feature that failed, takes the word away."""
    assert not [p for p in parts(replace(report, results={})) if p.proved or p.state == "proved"]
    failed = {**report.results, "load": result("load", "x", state="unsupported")}
    part = next(p for p in parts(replace(report, results=failed)) if p.name == "transformer")
    assert (part.state, part.open) == ("not proved", ("load: wrong",))


def test_an_unknown_gap_is_not_lost(report: PortReport) -> None:
    strange = replace(report.todos[0], subject="STRANGE")
    found = parts(replace(report, todos=(strange,)))
    assert found[-1].name == OTHER and found[-1].todos[0].startswith("STRANGE, blocking")


def test_a_port_of_diffusers_has_no_such_section(report: PortReport) -> None:
    manifest = replace(report.manifest, inputs={**report.manifest.inputs, "form": "hub"})
    plain = replace(report, manifest=manifest)
    assert parts(plain) == []
    assert "What is proved" not in html(plain) and "What is proved" not in markdown(plain)


def test_both_pages_hold_the_section(report: PortReport) -> None:
    page = Elements(html(report))
    assert page.wrong == []
    total = len(report.todos)
    for text in (page.text, markdown(report)):
        assert "What is proved and what is left" in text and f"{total} TODOs left, " in text
        assert "blocking: the denoising loop" in text.replace("\\", "")


def test_hostile_gaps_are_no_markup(report: PortReport) -> None:
    todo = replace(report.todos[0], value=HOSTILE, why=replace(report.todos[0].why, file=HOSTILE))
    hostile = replace(report, todos=(todo,))
    page = Elements(html(hostile))
    assert page.wrong == [] and not page.names() & {"script", "img"}
    assert "<script" not in markdown(hostile)


def test_how_the_section_looks_in_a_browser(report: PortReport, tmp_path: Path) -> None:
    path = tmp_path / "port.html"
    write(report, [path])
    assert Elements(path.read_text()).wrong == []
    program = find_browser()
    if program is None:
        return
    with browser(program) as page:
        page.open(path)
        assert page.problems == []
        layout = page.evaluate(LAYOUT)
        assert (layout["wide"], layout["overlaps"], layout["hidden"]) == (0, [], 0)
        page.open(path, width=480)
        assert page.evaluate(LAYOUT)["wide"] == 0


def test_what_was_closed_by_hand_is_not_left(tmp_path: Path) -> None:
    """Of two with one id the one that is gone goes; a marker that a human wrote is told where it stands."""
    tree = copy_tree(tmp_path / "tree")
    scaffold_custom("org/toy", FIXTURES / "fusion", into=tree, name="toy")
    port = find_port(tree)
    plan = load(port.manifest_path).port_plan()

    def told() -> Counter[tuple[str, str]]:
        return Counter((t.subject, str(t.value)) for t in left(port, plan))

    whole = Counter((t.subject, str(t.value)) for t in plan.todos)
    assert told() == whole
    file = tree / "vllm_omni" / "diffusion" / "models" / "toy" / "pipeline_toy.py"
    text = file.read_text("utf-8")
    for line in ("OMNIPORT-TODO(DENOISE): put encode_prompt", "OMNIPORT-TODO(DECODE): how latents"):
        assert text.count(line) == 1
        text = text.replace(line, "done")
    file.write_text(text + "# OMNIPORT-TODO(DECODE): tiles\n", "utf-8")
    gone = {key for key in whole if key[0] == "DECODE" or key[1].endswith("decode together")}
    assert len(gone) == 2
    closed = told()
    assert not [key for key in gone if key[0] == "DENOISE" and closed[key]]
    assert sum(closed.values()) == sum(whole.values()) - 1
    file.write_text(file.read_text("utf-8") + "# OMNIPORT-TODO(OWN): mine\n", "utf-8")
    (mine,) = [t for t in left(port, plan) if t.subject == "OWN"]
    assert (mine.value, mine.why.file) == ("mine", file.relative_to(tree).as_posix())
    assert len(left(port, replace(plan, todos=()))) == sum(whole.values()), "without a plan the markers are told"
